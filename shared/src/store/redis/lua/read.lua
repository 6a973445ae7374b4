#!lua flags=no-writes
-- Reads the events of a job's log that a follower has not seen.
-- KEYS  job, log
-- ARGV  cursor: the seq of the last received event, 0 for none
-- Returns  {status, '' if the job is gone; its seq; newest frame, '' if the job has not ended or the log is empty;
--          the frames after the cursor}
local job, log = KEYS[1], KEYS[2]

local state = redis.call('HMGET', job, 'status', 'seq')
local newest
if state[1] ~= 'queued' and state[1] ~= 'running' then
  newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
end
local frames = {}
for index, entry in ipairs(redis.call('XRANGE', log, '(' .. ARGV[1] .. '-0', '+')) do
  frames[index] = entry[2][2]
end
return {state[1] or '', state[2] or '0', newest and newest[2][2] or '', frames}
