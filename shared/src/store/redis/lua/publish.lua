#!lua
-- Appends a preview and renews the lease. Writes nothing if seq is not the next one, so it may be repeated.
-- KEYS  job, log, due
-- ARGV  now ('' for the server's), id, attempt, worker, lease (us), previews kept, seq, step, frame
-- Returns  held <the job's seq>   cancelled   lost
local keys = {job = KEYS[1], log = KEYS[2], due = KEYS[3]}
local id, attempt, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local kept, seq, step, frame = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9]

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'run', 'first')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end
if seq ~= job[4] + 1 then
  return {'held', job[4]}
end

local first = job[6] ~= '' and tonumber(job[6]) or seq
redis.call('HSET', keys.job, 'seq', int(seq), 'step', step, 'first', int(first))
if seq - kept >= first then
  redis.call('XDEL', keys.log, int(seq - kept) .. '-0')
end
append(keys.log, seq, frame)
extend(keys, id, job[5], clock(ARGV[1]) + lease)
return {'held', int(seq)}
