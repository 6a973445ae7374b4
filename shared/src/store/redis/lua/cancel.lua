#!lua flags=allow-oom
-- Ends a queued or running job for a caller that does not hold it.
-- KEYS  job, log, queue, due, checkpoint, cancel (a channel: '<id> <app>' of a running job), hooks
-- ARGV  now ('' for the server's), id, app, event (JSON), time to live (ms), the same with a webhook (ms)
-- Returns  cancelled   done <status>   unknown
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], checkpoint = KEYS[5], cancel = KEYS[6],
  hooks = KEYS[7]}
local id, app, json, ttl, hook_ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]

local job = redis.call('HMGET', keys.job, 'status', 'seq', 'app')
-- The caller chose the queue by the app that it had read before.
if not job[1] or job[3] ~= app then
  return {'unknown'}
end
if job[1] ~= 'queued' and job[1] ~= 'running' then
  return {'done', job[1]}
end

local seq = job[2] + 1
conclude(keys, id, 'cancelled', clock(ARGV[1]), ttl, hook_ttl, seq, int(seq) .. ' ' .. json)
if job[1] == 'running' then
  redis.call('SPUBLISH', keys.cancel, id .. ' ' .. app)
end
return {'cancelled'}
