# The record of a Chef run: one JSON object a line, written as it happens, so that a run that is killed still tells which
# resource was running. Each line has "event" and "at" (seconds since the epoch):
#
#   start chef, pid · node name, environment, run_list · cookbooks versions · converge resources
#   begin resource, action, cookbook, recipe, line        a resource's action starts; they nest
#   resource … status, seconds, cause, changes, before, after, error, ignored, reason
#   retry, deprecation                                    by the way
#   trouble phase, error, file, recipe                    what ends a run before its first resource
#   reads paths · node_end recipes, attributes            of a run that got through
#   end result (success, failure), seconds, reboot, error
require "json"
require_relative "reads"

module Swagent
  class Events < Chef::EventDispatch::Base
    # Longer texts are told by their length, never cut: half a secret would pass the scrubber that reads these lines.
    LONGEST = 20_000  # characters of one line of a diff, or of one property
    MOST_CHANGES = 40 # lines of one resource's diff

    # path: where to write, a file or a FIFO with a reader; attributes: dotted paths of node attributes to report at the end;
    # roles: the member's roles in the stack, which peers search for.
    def initialize(path, attributes: [], roles: [])
      @path = path
      @attributes = attributes
      @roles = roles
      @open = []
      @began = clock
    end

    # ---- before the recipes

    def run_start(version, _status = nil)
      say("start", chef: version, pid: Process.pid)
    end

    def node_load_completed(node, run_list, _config)
      @node = node
      # What a peer finds by searching for a role, the node's own recipes find in node['roles'].
      node.automatic_attrs[:roles] = (Array(node.automatic_attrs[:roles]) | @roles)
      say("node", name: node.name, environment: node.chef_environment, run_list: run_list.map(&:to_s))
    end

    def cookbook_resolution_complete(cookbooks)
      say("cookbooks", versions: cookbooks.to_h { |name, cookbook| [name, cookbook.version] })
    end

    def cookbook_compilation_start(_context)
      @reads = Reads.now = Reads.new
    end

    def converge_start(context)
      say("converge", resources: Reads.quietly { context.resource_collection.all_resources.size })
    end

    # ---- what stops a run before its first resource

    def run_list_expand_failed(_node, error)
      trouble("run_list", error)
    end

    def cookbook_resolution_failed(_run_list, error)
      trouble("cookbooks", error)
    end

    def cookbook_sync_failed(_cookbooks, error)
      trouble("cookbooks", error)
    end

    def node_load_failed(_name, error, _config)
      trouble("node", error)
    end

    def recipe_not_found(error)
      trouble("compile", error)
    end

    def recipe_file_load_failed(path, error, recipe = nil)
      trouble("compile", error, file: place(path), recipe: recipe && recipe.to_s)
    end

    %w{library lwrp ohai_plugin attribute definition}.each do |kind|
      define_method("#{kind}_file_load_failed") { |path, error| trouble("compile", error, file: place(path)) }
    end

    # ---- resources

    def resource_action_start(resource, action, notification = nil, notifier = nil)
      # Chef names the notifier of an immediate notification only.
      cause = notification && [notification, notifier].compact.join(" ")
      @open << { resource: resource, action: action, since: clock, changes: [], cause: cause }
      say("begin", resource: resource.to_s, action: action, **whereabouts(resource))
    end

    def resource_current_state_loaded(resource, _action, current)
      frame = frame_of(resource)
      frame[:before] = current if frame
    end

    def resource_update_applied(resource, _action, update)
      frame = frame_of(resource)
      frame[:changes].concat(Array(update).flatten.map(&:to_s)) if frame && !resource.sensitive
    end

    def resource_updated(resource, action)
      finish(resource, action, "updated")
    end

    def resource_up_to_date(resource, action)
      finish(resource, action, "up-to-date")
    end

    def resource_skipped(resource, action, conditional)
      finish(resource, action, "skipped", reason: conditional && conditional.to_text)
    end

    def resource_failed(resource, action, error)
      finish(resource, action, "failed", error: story(error), ignored: resource.ignore_failure ? true : false)
    end

    def resource_failed_retriable(resource, action, left, error)
      say("retry", resource: resource.to_s, action: action, left: left, error: story(error))
    end

    def deprecation(message, location = nil)
      say("deprecation", message: message.respond_to?(:message) ? message.message : message.to_s, line: location.to_s)
    end

    # ---- the end

    def converge_complete
      say("reads", paths: @reads.paths) if @reads
      Reads.now = nil
    end

    def converge_failed(_error)
      Reads.now = nil
    end

    def run_completed(node, _status = nil)
      Reads.now = nil
      values = @attributes.to_h { |path| [path, node.read(*path.split("."))] }
      say("node_end", recipes: Array(node["recipes"]).map(&:to_s).uniq, attributes: values.compact)
      over("success")
    end

    # After a reboot was asked for this follows run_completed, which has told the truth.
    def run_failed(error, _status = nil)
      Reads.now = nil
      over("failure", error: story(error)) unless @over
    end

    private

    def clock
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def frame_of(resource)
      @open.reverse_each.find { |frame| frame[:resource].equal?(resource) }
    end

    def finish(resource, action, status, **more)
      frame = frame_of(resource) || {}
      # what was begun inside and never ended (it raised) goes with it
      @open.pop until @open.empty? || @open.last.equal?(frame) || !@open.include?(frame)
      @open.pop if @open.last.equal?(frame)
      record = {
        resource: resource.to_s, type: resource.resource_name.to_s, action: action, status: status,
        seconds: frame[:since] && (clock - frame[:since]).round(4), cause: frame[:cause], **whereabouts(resource)
      }
      if %w{updated failed}.include?(status) && !resource.sensitive
        record[:changes] = frame.fetch(:changes, []).first(MOST_CHANGES).map { |line| brief(line) }
        record[:before] = state(frame[:before])
        record[:after] = state(resource)
      end
      say("resource", **record.merge(more).compact)
    end

    def whereabouts(resource)
      { cookbook: resource.cookbook_name&.to_s, recipe: resource.recipe_name&.to_s, line: place(resource.source_line) }.compact
    end

    # What a resource says of itself, without structures: a template's variables may be the whole stack.
    def state(resource)
      Reads.quietly do
        values = resource ? resource.state_for_resource_reporter : {}
        values.reject { |_, value| value.nil? || value.is_a?(Hash) || value.is_a?(Array) }.transform_values { |value| brief(value) }
      end
    rescue StandardError
      {}
    end

    def brief(value)
      value.is_a?(String) && value.size > LONGEST ? "(#{value.size} characters)" : value
    end

    def trouble(phase, error, **more)
      say("trouble", phase: phase, error: story(error), **more.compact)
    end

    def over(result, **more)
      @over = true
      reboot = @node && @node.run_context && @node.run_context.reboot_info
      reboot = reboot.transform_values(&:to_s) if reboot
      say("end", result: result, seconds: (clock - @began).round(3), reboot: reboot && !reboot.empty? ? reboot : nil, **more)
    end

    def story(error)
      trace = (error.backtrace || []).map(&:to_s).grep(%r{/cookbooks/})
      said = error.message.to_s
      body = error.response.body if error.respond_to?(:response) && error.response.respond_to?(:body)
      inner = error.respond_to?(:wrapped_errors) ? error.wrapped_errors.map { |each| story(each) } : nil
      { class: error.class.name, message: said, body: body, line: place(trace.first), trace: trace.first(5).map { |line| place(line) },
        inner: inner, cause: error.cause && error.cause != error ? "#{error.cause.class}: #{error.cause.message}" : nil }.compact
    end

    # "app/recipes/default.rb:3" of a backtrace line or a path below a cookbook folder.
    def place(text)
      text && text.to_s.sub(%r{\A.*/cookbooks/}m, "").sub(/:in [`'].*\z/m, "")
    end

    def say(event, **fields)
      line = Reads.quietly { JSON.generate(plain({ event: event, at: Time.now.to_f.round(3), **fields })) }
      @stream ||= File.open(@path, File::WRONLY | File::CREAT | File::APPEND, 0600).tap { |stream| stream.sync = true }
      @stream.write(line << "\n")
    rescue SystemCallError
      nil # the reader is gone: the run goes on, its end is told by the exit code
    end

    # Only what JSON has, in valid UTF-8.
    def plain(value)
      case value
      when Hash then value.to_h { |key, each| [text(key.to_s), plain(each)] }
      when Array then value.map { |each| plain(each) }
      when String then text(value)
      when Float then value.finite? ? value : value.to_s
      when Integer, true, false, nil then value
      else text(value.to_s)
      end
    end

    def text(value)
      value = value.encode("UTF-8", invalid: :replace, undef: :replace) unless value.encoding == Encoding::UTF_8
      value.scrub
    rescue EncodingError
      value.dup.force_encoding("UTF-8").scrub
    end
  end
end
