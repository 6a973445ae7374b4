#!lua flags=no-writes
-- Reads the length of an app's queue, how long its jobs take, and how long its oldest job has waited.
-- KEYS  queue, pace
-- ARGV  now ('' for the server's)
-- Returns  {length, pace, time since the oldest job's arrival}; '' for a time that there is none of. All times in us
local now = clock(ARGV[1])
local pace = pace_of(KEYS[2], now)

-- A score is class * 2^51 + arrival time, so the first job of a class is its oldest.
local oldest
for class = 0, 3 do
  local start, stop = class * 2 ^ 51, (class + 1) * 2 ^ 51
  local first = redis.call('ZRANGE', KEYS[1], int(start), '(' .. int(stop), 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  local arrived = first[2] and tonumber(first[2]) - start
  if arrived and (not oldest or arrived < oldest) then
    oldest = arrived
  end
end
return {int(redis.call('ZCARD', KEYS[1])), pace and int(pace) or '', oldest and int(math.max(0, now - oldest)) or ''}
