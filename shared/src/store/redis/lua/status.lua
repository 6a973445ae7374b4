#!lua flags=no-writes
-- Reads a job's state.
-- KEYS  job, log, queue
-- ARGV  id, the event to read: 'end' for the terminal event if there is one, 'newest' for the newest, '' for none
-- Returns  {status, attempt, worker, step, seq, created, started, finished, app, digest, steps, retry_of, needs,
--          prompt, position, frame, tenant, the step at which it was asked to finish early}, '' for a missing value; nil if the job does not exist
local job, log, queue, shown = KEYS[1], KEYS[2], KEYS[3], ARGV[2]

local state = redis.call('HMGET', job, 'status', 'attempt', 'worker', 'step', 'seq', 'created', 'started',
  'finished', 'app', 'digest', 'steps', 'retry_of', 'needs')
local tenant, early = unpack(redis.call('HMGET', job, 'tenant', 'early'))
if not state[1] then
  return false
end
-- A job of an earlier release has no needs, no prompt and no tenant.
state[13] = state[13] or ''
local ended = state[1] ~= 'queued' and state[1] ~= 'running'
local is_end_shown = shown == 'end' and ended
-- Only with the end: a prompt may be long, and clients ask often for the state of a job.
state[14] = is_end_shown and redis.call('HGET', job, 'prompt') or ''
state[15] = state[1] == 'queued' and int(redis.call('ZRANK', queue, ARGV[1]) or 0) or ''
local frame
if shown == 'newest' or is_end_shown then
  frame = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
end
state[16] = frame and frame[2][2] or ''
state[17] = tenant or ''
state[18] = early or ''
return state
