#!lua flags=allow-oom
-- Reports a try to call a webhook.
-- KEYS  job, log, hooks
-- ARGV  now ('' for the server's), id, number of the try, 'acknowledged' or 'failed', tries after which a webhook is
--       given up, the wait before the next try (us)
-- Returns  over   given_up   again <time of the next try>   superseded
local keys = {job = KEYS[1], log = KEYS[2], hooks = KEYS[3]}
local id, number, acknowledged = ARGV[2], tonumber(ARGV[3]), ARGV[4] == 'acknowledged'
local most, wait = tonumber(ARGV[5]), tonumber(ARGV[6])

local job = redis.call('HMGET', keys.job, 'hook', 'tries', 'failed')
if not job[1] or job[1] == '' then
  return {'over'}
end
local tries = tonumber(job[2])
if number > tries then
  -- A report about an earlier job of this id.
  return {'superseded'}
end
if acknowledged then
  -- Whatever lease it has: the receiver has the message.
  settle(keys, id, job[1])
  return {'over'}
end
if number < tries then
  return {'superseded'}
end
if tonumber(job[3]) == number then
  -- The report was repeated.
  return {'again', int(tonumber(redis.call('ZSCORE', keys.hooks, id) or 0))}
end
if number >= most then
  settle(keys, id, job[1])
  return {'given_up'}
end
local at = clock(ARGV[1]) + wait
redis.call('HSET', keys.job, 'failed', int(number))
redis.call('ZADD', keys.hooks, int(at), id)
return {'again', int(at)}
