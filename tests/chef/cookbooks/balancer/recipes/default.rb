# Written the way community cookbooks are: for a Chef server, with a way out for chef-solo that must not be taken.
if Chef::Config[:solo]
  Chef::Log.warn('This recipe uses search. Chef Solo does not support search.')
else
  pool = search(:node, "roles:#{node['balancer']['role']} AND chef_environment:#{node.chef_environment}")
  pool.sort_by! { |member| member.name }
  admins = data_bag('admins').sort.map { |id| data_bag_item('admins', id) }

  template node['balancer']['config'] do
    source 'balancer.cfg.erb'
    mode '0600'
    variables pool: pool, admins: admins
    notifies :create, 'file[reloaded]'
  end

  file 'reloaded' do
    path "#{node['balancer']['config']}.reloaded"
    content lazy { pool.size.to_s }
    action :nothing
  end
end
