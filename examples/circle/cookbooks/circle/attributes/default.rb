# Where the rendered files go, and where a recipe leaves facts for the other members.
default['circle']['folder'] = '/etc/circle'
default['circle']['facts'] = '/var/lib/swagent/facts.d'

# Inputs of a deployment are attributes at the top level: this one is the default of the head's input `queue`.
default['queue'] = 'day'
