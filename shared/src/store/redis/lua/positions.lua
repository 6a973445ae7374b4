#!lua flags=no-writes
-- Reads the positions of jobs in a queue.
-- KEYS  queue
-- ARGV  ids
-- Returns  the position of each, '' for a job that is not in the queue
local positions = {}
for index, id in ipairs(ARGV) do
  local rank = redis.call('ZRANK', KEYS[1], id)
  positions[index] = rank and int(rank) or ''
end
return positions
