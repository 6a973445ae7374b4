#!lua flags=no-writes
-- Lists the dead jobs.
-- KEYS  dead; and of each job on it, its job and its log
-- ARGV  app, '' for all; prefixes of job and log keys
-- Returns  a list of {id, app, attempt, finished, frame}
local dead, app, jobs, logs = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local list = redis.call('ZRANGE', dead, 0, -1, 'WITHSCORES')
local found = {}
for index = 1, #list, 2 do
  local id = list[index]
  local job = redis.call('HMGET', jobs .. id, 'app', 'attempt', 'finished')
  -- A listed job may have expired, and the list may have an entry from before the id was reused.
  if tonumber(list[index + 1]) == tonumber(job[3] or '') and (app == '' or app == job[1]) then
    local terminal = redis.call('XREVRANGE', logs .. id, '+', '-', 'COUNT', 1)[1]
    found[#found + 1] = {id, job[1], job[2], job[3], terminal and terminal[2][2] or ''}
  end
end
return found
