# A run that stays in progress until the test lets it go on.
ruby_block 'wait for the test' do
  block do
    File.write("#{node['scratch']}/begun", '')
    sleep 0.1 until File.exist?("#{node['scratch']}/go-on")
  end
end

include_recipe 'app::default'
