#!lua flags=no-writes
-- Reads the length of an app's queue, and how long its jobs take.
-- KEYS  queue, pace
-- ARGV  now ('' for the server's)
-- Returns  {length, pace, '' if there is none}
local pace = pace_of(KEYS[2], clock(ARGV[1]))
return {int(redis.call('ZCARD', KEYS[1])), pace and int(pace) or ''}
