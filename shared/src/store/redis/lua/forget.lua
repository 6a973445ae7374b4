#!lua
-- Deletes an ended job.
-- KEYS  job, log, dead, hooks
-- ARGV  id
-- Returns  done
local job, log, dead, hooks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local status = redis.call('HGET', job, 'status')
if status and status ~= 'queued' and status ~= 'running' then
  redis.call('ZREM', dead, ARGV[1])
  redis.call('ZREM', hooks, ARGV[1])
  redis.call('DEL', job, log)
end
return {'done'}
