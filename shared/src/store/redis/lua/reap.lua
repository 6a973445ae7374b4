#!lua flags=allow-oom
-- Ends an overdue job, or takes a job from a worker with an expired lease.
-- KEYS  job, log, queue, due, wake, dead, checkpoint, looking, hooks
-- ARGV  now ('' for the server's), id, app, the store's time that the caller last read, its maximum age (us),
--       allowed attempts, the failed events of start timeout and run timeout (JSON), the failed event of the last
--       attempt before and after the number of attempts, times to live of an ended and of a dead job (ms),
--       dead jobs kept, time to live of an ended job with a webhook (ms)
-- Returns  ended <now>   given_back <now>   nothing <now>
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], wake = KEYS[5], dead = KEYS[6],
  checkpoint = KEYS[7], looking = KEYS[8], hooks = KEYS[9]}
local id, app, seen, within = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local start_timeout, run_timeout, fault, ended_ttl = ARGV[7], ARGV[8], {ARGV[9], ARGV[10]}, ARGV[11]
local rules = {attempts = tonumber(ARGV[6]), dead_ttl = ARGV[12], dead_kept = tonumber(ARGV[13]),
  hook_ttl = ARGV[14]}
local now = clock(ARGV[1])

-- The command waited too long, for example in the socket of a frozen server: the workers' renewals must run first.
if now - seen > within then
  return {'nothing', int(now)}
end
local job = fields(keys.job, 'status', 'seq', 'start', 'run', 'lease', 'app')
if not job[1] then
  -- The job's hash is gone, so its queue is unknown. A claim removes the id from the right queue.
  redis.call('ZREM', keys.queue, id)
  redis.call('ZREM', keys.due, id)
  return {'nothing', int(now)}
end
if job[6] ~= app or (job[1] ~= 'queued' and job[1] ~= 'running') then
  return {'nothing', int(now)}
end

local seq, run, lease = job[2] + 1, tonumber(job[4]), tonumber(job[5])
local due = run and math.min(run, lease or run) or tonumber(job[3])
if due > now then
  return {'nothing', int(now)}
end
if not run then
  fail(keys, id, now, ended_ttl, rules.hook_ttl, seq, start_timeout)
  return {'ended', int(now)}
end
if run <= now then
  fail(keys, id, now, ended_ttl, rules.hook_ttl, seq, run_timeout)
  return {'ended', int(now)}
end
return {give_back(keys, id, now, rules, fault), int(now)}
