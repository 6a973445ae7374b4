#!lua flags=no-writes
-- Reads a job's state.
-- KEYS  job, log, queue
-- ARGV  id, the event to read: 'end' for the terminal event if there is one, 'newest' for the newest, '' for none
-- Returns  {status, attempt, worker, step, seq, created, started, finished, app, digest, steps, retry_of, needs,
--          position, frame}, '' for a missing value; nil if the job does not exist
local job, log, queue, shown = KEYS[1], KEYS[2], KEYS[3], ARGV[2]

local state = redis.call('HMGET', job, 'status', 'attempt', 'worker', 'step', 'seq', 'created', 'started',
  'finished', 'app', 'digest', 'steps', 'retry_of', 'needs')
if not state[1] then
  return false
end
-- A job of the previous release has no needs.
state[13] = state[13] or ''
state[14] = state[1] == 'queued' and int(redis.call('ZRANK', queue, ARGV[1]) or 0) or ''
local ended = state[1] ~= 'queued' and state[1] ~= 'running'
local frame
if shown == 'newest' or (shown == 'end' and ended) then
  frame = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
end
state[15] = frame and frame[2][2] or ''
return state
