#!lua flags=no-writes
-- Lists the workers with a recent heartbeat.
-- KEYS  workers
-- ARGV  now ('' for the server's), how long a worker is known (us)
-- Returns  a list of '<last seen> <record>'
local now, known = clock(ARGV[1]), tonumber(ARGV[2])

local seen = {}
for _, entry in ipairs(redis.call('HVALS', KEYS[1])) do
  if now - tonumber(string.match(entry, '^%d+')) <= known then
    seen[#seen + 1] = entry
  end
end
return seen
