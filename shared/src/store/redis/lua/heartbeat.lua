#!lua flags=allow-oom
-- Registers a worker. Sometimes it also removes all silent workers, which reads the records of all workers.
-- KEYS  workers, swept
-- ARGV  now ('' for the server's), worker, record (JSON), how long a worker is known (us), time to live of swept (ms)
-- Returns  done
local workers, swept, worker, record, known = KEYS[1], KEYS[2], ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = clock(ARGV[1])

if now - (tonumber(redis.call('GET', swept) or '') or 0) > known then
  local all = redis.call('HGETALL', workers)
  for index = 1, #all, 2 do
    -- A record that does not begin with a time is not a worker's.
    if now - tonumber(string.match(all[index + 1], '^%d+') or 0) > known then
      redis.call('HDEL', workers, all[index])
    end
  end
  redis.call('SET', swept, int(now), 'PX', ARGV[5])
end
redis.call('HSET', workers, worker, int(now) .. ' ' .. record)
return {'done'}
