#!lua
-- Renews a job's lease and stores a checkpoint of its attempt. Unlike renew, Redis refuses it when memory is full: the
-- caller then renews without a checkpoint.
-- KEYS  job, due, checkpoint
-- ARGV  now ('' for the server's), id, attempt, worker, lease (us), checkpoint
-- Returns  held <seq> <step from which on it should finish early, if it should>   cancelled   lost
local keys = {job = KEYS[1], due = KEYS[2], checkpoint = KEYS[3]}
local id, attempt, worker, lease, checkpoint = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'run', 'early')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end
local ttl = math.max(redis.call('PTTL', keys.job), 1)

extend(keys, id, job[5], clock(ARGV[1]) + lease)
redis.call('SET', keys.checkpoint, checkpoint, 'PX', int(ttl))
return held(job[4], job[6])
