# Brings the named gems from the sources that the system's gem is set up for: ruby fetch.rb FOLDER NAME-VERSION...
#
# `gem fetch` reads the whole index of a source first (half a minute of work); a pinned gem needs none, as its file is
# known by its name. What is in FOLDER already is not fetched again. The caller checks the sums: nothing here is trusted.
require "rubygems"
require "rubygems/remote_fetcher"

folder = File.realpath(ARGV.shift)
Dir.mkdir("#{folder}/cache") unless File.directory?("#{folder}/cache")
# The same number of connections as gem's own parallel downloads.
queue = Queue.new
ARGV.each { |gem| queue << gem }
queue.close
failures = Queue.new
fetcher = Gem::RemoteFetcher.fetcher

workers = Array.new([8, ARGV.size].min) do
  Thread.new do
    while (gem = queue.pop)
      name, _, version = gem.rpartition("-")
      spec = Gem::Specification.new(name, version)
      problem = "no source of gems is set up"
      fetched = Gem.sources.any? do |source|
        fetcher.download(spec, source.to_s, folder)
      rescue Gem::RemoteFetcher::FetchError, SystemCallError, SocketError => error
        problem = error.message
        false
      end
      failures << "#{gem}: #{problem}" unless fetched
    end
  end
end
workers.each(&:join)
abort(Array.new(failures.size) { failures.pop }.sort.join("\n")) unless failures.empty?
