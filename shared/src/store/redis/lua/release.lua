#!lua flags=allow-oom
-- Returns a job to the queue for its worker.
-- KEYS  job, log, queue, due, wake, dead, checkpoint, looking, hooks
-- ARGV  now ('' for the server's), id, attempt, worker, 'drain' or 'fault', allowed attempts,
--       the failed event of the last attempt before and after the number of attempts,
--       time to live of a dead job (ms), dead jobs kept, time to live of an ended job with a webhook (ms)
-- Returns  released   failed (that was its last attempt)   cancelled   lost
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], wake = KEYS[5], dead = KEYS[6],
  checkpoint = KEYS[7], looking = KEYS[8], hooks = KEYS[9]}
local id, attempt, worker, reason = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local rules = {attempts = tonumber(ARGV[6]), dead_ttl = ARGV[9], dead_kept = tonumber(ARGV[10]),
  hook_ttl = ARGV[11]}
local fault = reason == 'fault' and {ARGV[7], ARGV[8]} or nil

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end

if fault then
  -- The checkpoint may have caused the fault.
  redis.call('DEL', keys.checkpoint)
end
return {give_back(keys, id, clock(ARGV[1]), rules, fault) == 'ended' and 'failed' or 'released'}
