#!lua flags=no-writes
-- Reads the length of an app's queue, how long its jobs take, and how long the oldest of the first jobs of each class
-- has waited.
-- KEYS  queue, pace
-- ARGV  now ('' for the server's), prefix of job keys, how many jobs of a class are read
-- Returns  {length, pace, time since the oldest job's arrival}; '' for a time that there is none of. All times in us
local now = clock(ARGV[1])
local jobs, most = ARGV[2], ARGV[3]
local pace = pace_of(KEYS[2], now)

-- The queue is not sorted by arrival, except for the jobs of one tenant.
local oldest
for class = 0, 3 do
  local start, stop = int(class * 2 ^ 51), '(' .. int((class + 1) * 2 ^ 51)
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], start, stop, 'BYSCORE', 'LIMIT', 0, most)) do
    local created = tonumber(fields(jobs .. id, 'created')[1] or nil)
    if created and (not oldest or created < oldest) then
      oldest = created
    end
  end
end
return {int(redis.call('ZCARD', KEYS[1])), pace and int(pace) or '', oldest and int(math.max(0, now - oldest)) or ''}
