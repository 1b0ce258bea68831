name 'balancer'
version '2.3.1'
