# Fibers that hand objects to each other through channels, finalizers, and garbage of all sizes.
# Each fiber has a stack of its own, which the collector is to search wherever it switched away.
size = ARGV[0].to_i

class Node
  getter left : Node?
  getter right : Node?
  getter weight : Int32

  def initialize(depth : Int32)
    if depth == 0
      @weight = 1
    else
      left = @left = Node.new(depth - 1)
      right = @right = Node.new(depth - 1)
      @weight = left.weight + right.weight
    end
  end

  def weigh : Int32
    left, right = @left, @right
    left && right ? left.weigh + right.weigh : 1
  end
end

# Counts in plain memory, for finalizers may not allocate.
class Watched
  @@finalized = 0
  @@wrong = 0
  class_getter finalized, wrong

  def initialize(@number : Int32, @dropped : Bool)
    @check = ~@number
  end

  def held?(number)
    @number == number && @check == ~number && !@dropped
  end

  def finalize
    @@finalized += 1
    @@wrong += 1 unless @dropped && @check == ~@number
    @check = @number
  end
end

def drop(count)
  count.times { |i| Watched.new(i, true) }
end

# The middle ones of a chain of fibers are switched away from with all their data on the stack.
def relay(length, messages)
  first = Channel({Int32, Node, String}).new(4)
  last = first
  length.times do |stage|
    before = last
    after = last = Channel({Int32, Node, String}).new(stage % 3)
    spawn do
      own = Node.new(6)
      while message = before.receive?
        number, node, text = message
        Fiber.yield if number % 5 == stage % 5
        raise "damaged in stage #{stage}" unless own.weigh == 64 && node.weigh == node.weight
        after.send({number, Node.new(2 + (number + stage) % 6), text + (stage % 10).to_s})
      end
      after.close
    end
  end
  spawn do
    messages.times { |i| first.send({i, Node.new(3), i.to_s}) }
    first.close
  end
  sum = 0
  while message = last.receive?
    number, node, text = message
    sum = (sum * 31 + number + node.weigh + text.size) % 1_000_003
  end
  sum
end

def tables(count)
  table = {} of String => Array(Int32)
  count.times { |i| table[(i * 7919 % 1_000_003).to_s] = [i, i * 2] }
  count.times.reduce(0) do |sum, i|
    (sum * 31 + table[(i * 7919 % 1_000_003).to_s][1]) % 1_000_003
  end
end

def arrays(count)
  kept = Array(Bytes).new(64) { Bytes.new(1) }
  sum = 0
  count.times do |i|
    kept[i % 64] = Bytes.new(100 + i * 37 % 9000, (i % 251).to_u8)
    sum = (sum + kept[i * 7 % 64][0]) % 1_000_003
  end
  sum
end

held = Array.new(size) { |i| Watched.new(i, false) }
puts "relay #{relay(40, size)}"
drop(10 * size)
puts "table #{tables(10 * size)}"
puts "arrays #{arrays(10 * size)}"
sum = (1..size).reduce(0) { |sum, i| (sum * 31 + Node.new(4 + i % 6).weigh) % 1_000_003 }
puts "trees #{sum}"
GC.collect
GC.collect
puts "finalized #{Watched.finalized > 5 * size}, wrong #{Watched.wrong}"
puts "held #{held.each_with_index.all? { |watched, i| watched.held?(i) }}"
puts "spawned in turn #{(1..size).sum { |i|
  answer = Channel(String).new
  spawn { answer.send(Node.new(5).weigh.to_s * 3) }
  answer.receive.size
}}"
