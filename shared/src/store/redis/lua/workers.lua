#!lua flags=no-writes
-- Lists the workers with a recent heartbeat.
-- KEYS  workers
-- ARGV  now ('' for the server's), how long a worker is known (us)
-- Returns  a list of '<last seen> <record>', and the records that do not begin with a time
local now, known = clock(ARGV[1]), tonumber(ARGV[2])

local seen = {}
for _, entry in ipairs(redis.call('HVALS', KEYS[1])) do
  local last_seen = string.match(entry, '^%d+')
  if not last_seen or now - tonumber(last_seen) <= known then
    seen[#seen + 1] = entry
  end
end
return seen
