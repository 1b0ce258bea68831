# Each run adds a line, so that a test counts what really ran.
ruby_block 'count the run' do
  block { File.write("#{node['scratch']}/runs", "#{node['port']}\n", mode: 'a') }
end

file "#{node['scratch']}/app.conf" do
  content "port #{node['port']}\n"
end

file "#{ENV['heat_outputs_path']}.address" do
  content "#{node['swagent']['member']}:#{node['port']}"
end
