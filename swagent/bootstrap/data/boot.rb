# Read by Ruby before a program of this folder: where the pinned gems are, and a compile cache for them.
#
# The gems come onto the load path without being activated, so that no GEM_HOME or RUBYOPT is needed that a recipe's own
# commands would inherit: `chef_gem` and `gem` inside a recipe see the system's Ruby and nothing of ours.

home = File.dirname(__dir__)
$LOAD_PATH.unshift(*File.readlines("#{__dir__}/load_path", chomp: true).map { |folder| "#{home}/#{folder}" })

# Chef asks for the product name of InSpec in each run, which would autoload all of InSpec. It is not part of this set:
# the name is, and whoever asks for more is told so.
module Inspec
  module Dist
    PRODUCT_NAME = "Chef InSpec".freeze
  end

  def self.const_missing(name)
    raise LoadError, "Inspec::#{name}: InSpec is not installed beside this Chef; " \
                     "install a Chef or Cinc package for compliance profiles (it is then used instead)"
  end
end

# Ruby compiles some 1,500 files at each start of Chef; their compiled form is kept here. What it holds is executed, so
# it must be the caller's own and nobody else's. Cookbooks are never kept. Removing the folder is always safe.
cache = "#{home}/compiled"
stat = File.stat(cache) rescue nil
if stat && stat.directory? && stat.owned? && (stat.mode & 0o077).zero?
  require "zlib"
  # Ruby refuses code of another minor release only; one folder per build, and only the present one stays.
  ours = "#{cache}/#{RUBY_VERSION}p#{RUBY_PATCHLEVEL}-#{RUBY_PLATFORM}"
  unless File.directory?(ours)
    require "fileutils"
    Dir.children(cache).each { |other| FileUtils.rm_rf("#{cache}/#{other}") }
    FileUtils.mkdir_p(ours, mode: 0o700)
  end

  kept = ["#{home}/gems/", "/usr/lib/ruby/"].freeze
  RubyVM::InstructionSequence.define_singleton_method(:load_iseq) do |path|
    next unless path.start_with?(*kept)

    source = File.stat(path)
    name = "#{path.tr("/", "%")}-#{source.size}-#{source.mtime.to_i}.#{source.mtime.nsec}"
    next if name.bytesize > 230

    entry = "#{ours}/#{name}"
    # Ruby trusts what it loads, and after a power cut a file can be whole in length and full of zeros: hence a sum.
    sum, code = File.binread(entry).unpack("Na*") if File.exist?(entry)
    if code && sum == Zlib.crc32(code)
      begin
        next load_from_binary(code)
      rescue RuntimeError, TypeError
        code = nil # not this Ruby's: written anew below
      end
    end
    compiled = compile_file(path)
    code = compiled.to_binary
    beside = "#{entry}.#{$$}"
    begin
      File.binwrite(beside, [Zlib.crc32(code), code].pack("Na*"), perm: 0o600)
      File.rename(beside, entry)
    rescue SystemCallError
      File.delete(beside) rescue nil # a full disk slows the next start down, no more
    end
    compiled
  rescue SyntaxError, SystemCallError, RuntimeError
    nil # Ruby's own way then, with Ruby's own message
  end
end
