#!lua flags=allow-oom
-- Holds a job for another lease's time.
-- KEYS  job, due
-- ARGV  now ('' for the server's), id, attempt, worker, lease (us)
-- Answers  held <seq>   cancelled   lost
local keys = {job = KEYS[1], due = KEYS[2]}
local id, attempt, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'run')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end

local till = clock(ARGV[1]) + lease
redis.call('HSET', keys.job, 'lease', int(till))
redis.call('ZADD', keys.due, int(math.min(tonumber(job[5]), till)), id)
return {'held', job[4]}
