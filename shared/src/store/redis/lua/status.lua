#!lua flags=no-writes
-- Reads where a job stands.
-- KEYS  job, log, queue
-- ARGV  id
-- Answers  {status, attempt, worker, step, seq, created, started, finished, app, digest, steps, retry_of, position,
--          newest frame}, '' for what there is none of; nil if there is no such job
local job, log, queue = KEYS[1], KEYS[2], KEYS[3]

local state = redis.call('HMGET', job, 'status', 'attempt', 'worker', 'step', 'seq', 'created', 'started',
  'finished', 'app', 'digest', 'steps', 'retry_of')
if not state[1] then
  return false
end
state[13] = state[1] == 'queued' and int(redis.call('ZRANK', queue, ARGV[1]) or 0) or ''
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
state[14] = newest and newest[2][2] or ''
return state
