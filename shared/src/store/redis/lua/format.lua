#!lua flags=allow-oom
-- Reads the number of the stored format, and raises it to the caller's.
-- KEYS  format
-- ARGV  the caller's format
-- Returns  the number that was stored; '' if there was none
local known, own = redis.call('GET', KEYS[1]), ARGV[1]
if not known or (tonumber(known) or 0) < tonumber(own) then
  redis.call('SET', KEYS[1], own)
end
return known or ''
