-- Ends the delivery of a webhook; for deliver and report. Included after shared.lua.

-- Removes the delivery. The job's time to live, `ttl` (ms), begins again.
local function settle(keys, id, ttl)
  redis.call('ZREM', keys.hooks, id)
  redis.call('HSET', keys.job, 'hook', '')
  redis.call('PEXPIRE', keys.job, ttl)
  redis.call('PEXPIRE', keys.log, ttl)
end
