#
# A worker needs the identifier that the head makes, the head's address and the names of its fellow workers.
# As long as the head has not said its part there is nothing to write down: the head's fact starts the next run.
#
me = node['swagent']['member']
head = node['swagent']['roles']['head'].first
fellows = node['swagent']['roles']['worker'].reject { |name| name == me }

member = head ? node['swagent']['members'][head] : {}
known = member['facts'] || {}

unless known['cluster_id']
  Chef::Log.warn('circle: the head has not said its identifier yet; nothing is written until it has')
  return
end

directory node['circle']['folder'] do
  recursive true
end

template ::File.join(node['circle']['folder'], 'worker.conf') do
  source 'worker.conf.erb'
  variables cluster_id: known['cluster_id'], queue: known['queue'], head: head, ip: member['ip'], fellows: fellows
end
