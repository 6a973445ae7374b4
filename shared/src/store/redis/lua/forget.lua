#!lua
-- Deletes an ended job.
-- KEYS  job, log, dead
-- ARGV  id
-- Returns  done
local job, log, dead = KEYS[1], KEYS[2], KEYS[3]

local status = redis.call('HGET', job, 'status')
if status and status ~= 'queued' and status ~= 'running' then
  redis.call('ZREM', dead, ARGV[1])
  redis.call('DEL', job, log)
end
return {'done'}
