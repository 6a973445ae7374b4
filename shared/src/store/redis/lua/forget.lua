#!lua
-- Deletes an ended job.
-- KEYS  job, log, dead, hooks
-- ARGV  id, prefix of the keys of tenants' jobs
-- Returns  done
local job, log, dead, hooks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local found = redis.call('HMGET', job, 'status', 'tenant')
local status, tenant = found[1], found[2]
if status and status ~= 'queued' and status ~= 'running' then
  -- A job of the previous release has no tenant, and is not listed.
  if tenant then
    redis.call('ZREM', ARGV[2] .. tenant, ARGV[1])
  end
  redis.call('ZREM', dead, ARGV[1])
  redis.call('ZREM', hooks, ARGV[1])
  redis.call('DEL', job, log)
end
return {'done'}
