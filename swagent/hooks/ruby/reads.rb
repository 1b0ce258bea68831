# Which values below node['swagent'] a run reads: what must change before the same recipes can come to another result.
#
# Chef keeps with every nested attribute map the path that it was reached by (`__path__`). Reading on through a map is no
# read of the map; taking a value, a list, or the map as a whole is. A map that was handed out and of which nothing was
# taken may have been tested, passed on or merged by C code that nobody sees: it counts as read. What peers publish is also
# read by searches and data bags, which all go through Chef::HTTP.
module Swagent
  class Reads
    ROOT = "swagent".freeze
    # These say which run it is, not what the stack is.
    OUTSIDE = %w{event digest}.freeze

    class << self
      attr_accessor :now

      def quietly
        before, self.now = now, nil
        yield
      ensure
        self.now = before
      end
    end

    def initialize
      @taken = {}   # path => true: read as a value or as a whole
      @absent = {}  # path => true: looked for and not there
      @handed = Hash.new(0)
      @followed = Hash.new(0)
    end

    def take(path)
      @taken[path.dup.freeze] = true unless OUTSIDE.include?(path.first)
    end

    def miss(path)
      @absent[path.dup.freeze] = true unless OUTSIDE.include?(path.first)
    end

    def hand_out(path)
      @handed[path.dup.freeze] += 1
    end

    # `key` of the map at `path` was asked for and gave `value`.
    def step(path, key, value, there)
      @followed[path] += 1
      below = path + [key]
      if !there
        miss(below)
      elsif value.is_a?(Chef::Node::ImmutableMash)
        hand_out(below)
      else
        take(below)
      end
    end

    # keys, from the map at `path` on, in one call that gives nil where one is missing.
    def walk(map, path, keys)
      @followed[path] += 1
      value = map
      keys.each_with_index do |key, at|
        here = path + keys[0..at].map(&:to_s)
        return take(here[0...-1]) unless value.is_a?(Hash)
        return miss(here) unless value.key?(key)

        value = value[key]
      end
      value.is_a?(Chef::Node::ImmutableMash) ? hand_out(path + keys.map(&:to_s)) : take(path + keys.map(&:to_s))
    end

    # A request of a recipe to Chef's own (local) server.
    def request(method, path)
      place = path.to_s.sub(%r{\A\w+://[^/]+/}, "").delete_prefix("/")
      if place.match?(%r{\Asearch/(node|stack|stack_secrets)\b})
        [["members"], ["roles"]].each { |all| take(all) }
        # What members ran is only read by who asks for it: else every first run would be a change to every searcher.
        take(["recipes"]) if place.match?(/recipe|run_list|q=(\*|%2A)(:|%3A)/i)
      elsif %w{GET HEAD}.include?(method.to_s.upcase)
        case place
        when %r{\Adata/(stack|stack_secrets)/?\z}, %r{\Anodes/?\z} then [["members"], ["roles"]].each { |all| take(all) }
        when %r{\Adata/(?:stack|stack_secrets)/([^/?]+)} then take(["members", $1])
        when %r{\Anodes/([^/?]+)} then [["members", $1], ["recipes", $1]].each { |each| take(each) }
        end
      end
    end

    # The paths, none of them below another.
    def paths
      all = @taken.keys + @absent.keys + @handed.keys.select { |path| whole?(path) }
      all.uniq.sort_by(&:size).each_with_object([]) do |path, kept|
        kept << path unless kept.any? { |shorter| path[0, shorter.size] == shorter }
      end.sort
    end

    private

    # swagent and a member's own entry are often tested before they are read further, and what is read further shows whether
    # they are there. The sets between (members, roles, packages…) count as soon as one look at them led nowhere.
    def whole?(path)
      return @followed[path].zero? if path.empty?
      return @handed[path] > @followed[path] unless path.size == 2

      @taken.keys.none? { |taken| taken.size > path.size && taken[0, path.size] == path }
    end

    def self.path_of(map)
      path = map.__path__
      path[1..].map(&:to_s) if path && path.first.to_s == ROOT
    end

    module Map
      def [](*args)
        return super unless (reads = Reads.now)

        value = Reads.quietly { super } # a symbol is looked up a second time as text
        if (path = Reads.path_of(self))
          key = args.first.to_s
          Reads.quietly { reads.step(path, key, value, key?(key)) }
        end
        value
      end

      def fetch(key, *default, &block)
        return super unless Reads.now && Reads.path_of(self)

        there = Reads.quietly { key?(key) }
        there ? self[key] : (self[key]; super)
      end

      %i{key? has_key? include? member? attribute?}.each do |name|
        define_method(name) do |key|
          there = super(key)
          if (reads = Reads.now) && (path = Reads.path_of(self))
            Reads.quietly { reads.step(path, key.to_s, self[key], there) }
          end
          there
        end
      end

      %i{read read! dig exist?}.each do |name|
        define_method(name) do |*keys|
          reads = Reads.now
          if reads.nil? || keys.empty?
            super(*keys)
          elsif (path = Reads.path_of(self))
            Reads.quietly { reads.walk(self, path, keys) }
            Reads.quietly { super(*keys) }
          elsif __path__ == [] && keys.first.to_s == ROOT && key?(ROOT)
            # all attributes of the node, or a map without a place
            Reads.quietly { keys.size > 1 ? reads.walk(self[ROOT], [], keys[1..]) : reads.hand_out([]) }
            Reads.quietly { super(*keys) }
          else
            super(*keys)
          end
        end
      end

      stepwise = %i{[] fetch key? has_key? include? member? attribute? read read! dig exist? default default_proc}
      internal = /\A(__|internal_|regular_|convert_|immutablize|safe_dup|normalize|valid_container|reset|compare_by|copy_state)|\w=\z/
      of_objects = %i{to_s inspect == eql? hash dup clone to_json to_yaml ffi_yajl encode_with pretty_print as_json to_enum}
      found = Chef::Node::ImmutableMash.public_instance_methods - Object.public_instance_methods + of_objects
      (found.uniq - stepwise).each do |name|
        next if name.to_s.match?(internal) || !Chef::Node::ImmutableMash.method_defined?(name)

        define_method(name) do |*args, &block|
          if (reads = Reads.now) && (path = Reads.path_of(self))
            reads.take(path)
          end
          super(*args, &block)
        end
        ruby2_keywords(name)
      end
    end

    # node[…], node.read(…) and what gives all attributes at once.
    module Node
      def [](key)
        value = super
        if (reads = Reads.now) && key.to_s == ROOT
          value.is_a?(Chef::Node::ImmutableMash) ? reads.hand_out([]) : reads.take([])
        end
        value
      end

      # node['x'] merges the levels of x: that is Chef reading, not a recipe. Without a key it is everything.
      def merged_attributes(*path)
        Reads.now.take([]) if Reads.now && path.compact.empty?
        Reads.quietly { super }
      end

      %i{read read! dig exist?}.each do |name|
        define_method(name) do |*keys|
          reads = Reads.now
          next super(*keys) if reads.nil? || keys.first.to_s != ROOT

          Reads.quietly do
            root = self[ROOT]
            if keys.size > 1 && root.is_a?(Chef::Node::ImmutableMash)
              reads.walk(root, [], keys[1..])
            else
              reads.hand_out([])
            end
            super(*keys)
          end
        end
      end
    end

    # node.normal['swagent'] is the same document by another door, without frozen values.
    module Level
      def [](key)
        Reads.now.take([]) if Reads.now && key.to_s == ROOT && __path__ == [] && __precedence__ == :normal
        super
      end
    end

    module Requests
      def request(method, path, *more)
        Reads.now&.request(method, path)
        super
      end
      ruby2_keywords(:request)
    end

    Chef::Node::ImmutableMash.prepend(Map)
    Chef::Node::Attribute.prepend(Node)
    Chef::Node::VividMash.prepend(Level)
    Chef::HTTP.prepend(Requests)
  end
end
