file "#{node['scratch']}/app.conf" do
  action :delete
end

file "#{node['scratch']}/left" do
  content "#{node['swagent']['event']}\n"
end
