directory "#{node['scratch']}/there"

file "#{node['scratch']}/nowhere/app.conf" do
  content "port #{node['port']}\n"
end
