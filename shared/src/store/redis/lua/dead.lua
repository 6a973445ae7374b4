#!lua flags=no-writes
-- Lists the dead jobs.
-- KEYS  dead; and the job and the log of each job on it
-- ARGV  app, '' for all; prefixes of job and log keys
-- Returns  a list of {id, app, attempt, finished, frame}
local dead, app, jobs, logs = KEYS[1], ARGV[1], ARGV[2], ARGV[3]

local list = redis.call('ZRANGE', dead, 0, -1, 'WITHSCORES')
local found = {}
for index = 1, #list, 2 do
  local id = list[index]
  local job = fields(jobs .. id, 'app', 'attempt', 'finished')
  -- A listed job may have expired, and an entry may be older than a reuse of its id.
  if job[3] and tonumber(list[index + 1]) == tonumber(job[3]) and (app == '' or app == job[1]) then
    local terminal = redis.call('XREVRANGE', logs .. id, '+', '-', 'COUNT', 1)[1]
    found[#found + 1] = {id, job[1] or '', job[2] or '', job[3], terminal and terminal[2][2] or ''}
  end
end
return found
