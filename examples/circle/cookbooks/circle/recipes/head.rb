#
# The head makes the cluster's identifier, which nobody else can, and lists the workers with their sizes, which it cannot
# know ahead of time. Each run states what is true now, so it does not matter how often or in which order members run.
#
require 'json'
require 'securerandom'

folder = node['circle']['folder']
members = node['swagent']['members']

workers = node['swagent']['roles']['worker'].map do |name|
  member = members[name]
  { 'name' => name, 'ip' => member['ip'], 'cpus' => member['cpus'], 'memory_mb' => member['memory_mb'] }
end

directory folder do
  recursive true
end

# Made once: a later run finds it and leaves it alone.
identifier = ::File.join(folder, 'identifier')
file identifier do
  content lazy { "#{SecureRandom.hex(8)}\n" }
  action :create_if_missing
end

# What a file in this folder says is a fact of this member, and an attribute on every other one.
directory node['circle']['facts'] do
  recursive true
  mode '0700'
end
file ::File.join(node['circle']['facts'], 'circle.json') do
  content lazy { "#{JSON.generate('cluster_id' => ::File.read(identifier).strip, 'queue' => node['queue'])}\n" }
  mode '0600'
end

template ::File.join(folder, 'cluster.conf') do
  source 'cluster.conf.erb'
  variables(lazy { { cluster_id: ::File.read(identifier).strip, queue: node['queue'], workers: workers } })
end
