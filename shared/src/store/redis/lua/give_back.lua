-- Takes a job from its worker; for release and reap. Included after waiting.lua.

-- Ends the job with a failed event.
local function fail(keys, id, now, ttl, hook_ttl, seq, json)
  redis.call('HSET', keys.job, 'worker', '')
  conclude(keys, id, 'failed', now, ttl, hook_ttl, seq, int(seq) .. ' ' .. json)
end

-- Puts the job back into the queue, with its old score. A fault counts as an attempt; after the last one the job is
-- dead. `fault` is nil, or {head, tail}: the failed event before and after the number of attempts.
-- Returns 'given_back' or 'ended'.
local function give_back(keys, id, now, rules, fault)
  local job = redis.call('HMGET', keys.job, 'faults', 'seq', 'first', 'score', 'run', 'needs',
    'partials')
  local faults, seq = tonumber(job[1]), tonumber(job[2])
  if fault then
    faults = faults + 1
  end
  if fault and faults >= rules.attempts then
    redis.call('HSET', keys.job, 'faults', int(faults))
    fail(keys, id, now, rules.dead_ttl, rules.hook_ttl, seq + 1, fault[1] .. int(faults) .. fault[2])
    redis.call('ZADD', keys.dead, int(now), id)
    redis.call('ZREMRANGEBYRANK', keys.dead, 0, -(rules.dead_kept + 1))
    return 'ended'
  end
  if job[3] ~= '' then
    clear(keys.log, tonumber(job[3]), seq, job[7] or '')
  end
  redis.call('HSET', keys.job, 'status', 'queued', 'worker', '', 'step', '', 'first', '', 'lease', '',
    'faults', int(faults), 'seq', int(seq + 1))
  enqueue(keys, id, job[6], tonumber(job[4]), tonumber(job[5]), seq + 1, now)
  return 'given_back'
end
