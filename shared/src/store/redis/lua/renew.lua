#!lua flags=allow-oom
-- Renews a job's lease.
-- KEYS  job, due
-- ARGV  now ('' for the server's), id, attempt, worker, lease (us)
-- Returns  held <seq> <step from which on it should finish early, if it should>   cancelled   lost
local keys = {job = KEYS[1], due = KEYS[2]}
local id, attempt, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'run', 'early')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end

extend(keys, id, job[5], clock(ARGV[1]) + lease)
return held(job[4], job[6])
