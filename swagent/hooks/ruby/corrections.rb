# What swagent changes in Chef itself.

# Local mode has no client key, by design; Chef would say so on stdout with every request.
class Chef::HTTP::Authenticator
  private

  def puts(*); end
end

# A reboot is done by swagent, after the result is saved and reported. Chef still ends with exit code 35.
begin
  require "chef/platform/rebooter"
  Chef::Platform::Rebooter.define_singleton_method(:shell_out!) { |*_command, **_options| nil }
rescue LoadError
  nil # a Chef older than the reboot resource
end

# "roles:web NOT name:me" finds everybody in local mode, whose searches join the two by OR. For a Chef server a negated
# clause excludes, whatever stands beside it, and cookbooks are written for that.
begin
  require "chef_zero/solr/query/binary_operator"
  require "chef_zero/solr/query/unary_operator"

  module Swagent
    module Exclusion
      NEGATIONS = %w{- NOT !}.freeze

      def matches_doc?(doc)
        return super unless operator == "OR" && negation?(left) ^ negation?(right)

        left.matches_doc?(doc) && right.matches_doc?(doc)
      end

      private

      def negation?(clause)
        clause.is_a?(ChefZero::Solr::Query::UnaryOperator) && NEGATIONS.include?(clause.operator)
      end
    end
  end
  ChefZero::Solr::Query::BinaryOperator.prepend(Swagent::Exclusion)
rescue LoadError
  nil # another local server: its searches are its own
end
