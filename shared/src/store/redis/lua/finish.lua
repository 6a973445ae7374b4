#!lua flags=allow-oom
-- Ends a job for the worker that holds it.
-- KEYS  job, log, queue, due, checkpoint, pace, hooks
-- ARGV  now ('' for the server's), id, attempt, worker, status, seq, frame, time to live (ms),
--       how long a pace counts (us), and is kept (ms), time to live with a webhook (ms)
-- Returns  finished   cancelled   lost   seq <the right one>: the frame's number is wrong, nothing was written
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], checkpoint = KEYS[5],
  pace = KEYS[6], hooks = KEYS[7]}
local id, attempt, worker, status = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local seq, frame, ttl = tonumber(ARGV[6]), ARGV[7], ARGV[8]
local counts, kept, hook_ttl = tonumber(ARGV[9]), ARGV[10], ARGV[11]

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'started')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer == 'cancelled' then
  return {'cancelled'}
end
if answer == 'lost' then
  -- Only a finish leaves the worker's name on an ended job, so this is a repeated finish.
  local ended = job[1] == 'completed' or job[1] == 'failed'
  local again = ended and job[2] == attempt and job[3] == worker
  return {again and 'finished' or 'lost'}
end
if seq ~= job[4] + 1 then
  return {'seq', int(job[4] + 1)}
end

local now = clock(ARGV[1])
local pace = status == 'completed' and pace_with(keys.pace, now, now - job[5])

conclude(keys, id, status, now, ttl, hook_ttl, seq, frame)
if pace then
  redis.call('SET', keys.pace, int(pace) .. ' ' .. int(now + counts), 'PX', kept)
end
return {'finished'}
