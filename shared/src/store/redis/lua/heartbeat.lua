#!lua flags=allow-oom
-- Registers a worker, and drops those that were silent for too long.
-- KEYS  workers
-- ARGV  now ('' for the server's), worker, record (JSON), how long a worker is known (us)
-- Answers  done
local workers, worker, record, known = KEYS[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = clock(ARGV[1])

local all = redis.call('HGETALL', workers)
for index = 1, #all, 2 do
  if now - tonumber(string.match(all[index + 1], '^%d+')) > known then
    redis.call('HDEL', workers, all[index])
  end
end
redis.call('HSET', workers, worker, int(now) .. ' ' .. record)
return {'done'}
