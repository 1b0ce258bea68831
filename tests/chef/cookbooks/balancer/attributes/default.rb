default['balancer']['role'] = 'web'
default['balancer']['port'] = 80
default['balancer']['config'] = '/etc/balancer.cfg'
