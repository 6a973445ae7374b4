#!lua
-- Submits a dead job again as a new job, and removes it from the dead list.
-- KEYS  those of enter.lua for the new job; dead, old job
-- ARGV  those of enter.lua for the new job; old id
-- Returns  submitted <position>   duplicate   full <waiting> <pace if there is one>   unknown
local dead, old, old_id = KEYS[12], KEYS[13], ARGV[25]

-- The caller read the old job before and made the new job from it.
local job = redis.call('HMGET', old, 'app', 'digest', 'finished', 'early')
if job[1] ~= app or job[2] ~= digest then
  return {'unknown'}
end
if redis.call('EXISTS', keys.job) == 1 then
  return {'duplicate'}
end
-- The entry may be older than a reuse of the id.
local died = redis.call('ZSCORE', dead, old_id)
if not died or tonumber(died) ~= tonumber(job[3]) then
  return {'unknown'}
end
local refused = full()
if refused then
  return refused
end

redis.call('ZREM', dead, old_id)
local position = enter()
if job[4] then
  redis.call('HSET', keys.job, 'early', job[4])
end
return {'submitted', position}
