#!lua
-- Submits a job that was given up on once more, as a new job, and takes it off the dead list.
-- KEYS  those of enter.lua for the new job; dead, old job
-- ARGV  those of enter.lua for the new job; old id
-- Answers  submitted <position>   duplicate   full <waiting> <pace, if it was measured>   unknown
local dead, old, old_id = KEYS[9], KEYS[10], ARGV[15]

-- The new job was made of what the caller read of the old one before.
local job = redis.call('HMGET', old, 'app', 'digest', 'finished')
if job[1] ~= app or job[2] ~= digest then
  return {'unknown'}
end
if redis.call('EXISTS', keys.job) == 1 then
  return {'duplicate'}
end
-- The list may name an end from before the id came again.
local died = redis.call('ZSCORE', dead, old_id)
if not died or tonumber(died) ~= tonumber(job[3]) then
  return {'unknown'}
end
local refused = full()
if refused then
  return refused
end

redis.call('ZREM', dead, old_id)
return {'submitted', enter()}
