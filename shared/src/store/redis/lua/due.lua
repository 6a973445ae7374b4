#!lua flags=no-writes
-- Lists the jobs that reap must check.
-- KEYS  due; and the job of each entry
-- ARGV  now ('' for the server's), prefix of job keys
-- Returns  a flat list of <id> <due time> <app, '' if the job is gone>, earliest first
local list = redis.call('ZRANGE', KEYS[1], '-inf', int(clock(ARGV[1])), 'BYSCORE', 'WITHSCORES')
local found = {}
for index = 1, #list, 2 do
  found[#found + 1] = list[index]
  found[#found + 1] = list[index + 1]
  found[#found + 1] = fields(ARGV[2] .. list[index], 'app')[1] or ''
end
return found
