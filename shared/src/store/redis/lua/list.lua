#!lua flags=no-writes
-- Lists a tenant's jobs, newest first.
-- KEYS  the tenant's jobs
-- ARGV  how many at most, status ('' for any), prefix of job keys; the `created` and the id of the job after which the
--       list begins, '' for the newest
-- Returns  a list of {id, app, status, created}
local listed, limit, wanted, jobs, created, before = KEYS[1], tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local CHUNK = 100

local found, at = {}, 0
local from = created == '' and '+inf' or created
while #found < limit do
  local chunk = redis.call('ZRANGE', listed, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', at, CHUNK, 'WITHSCORES')
  for index = 1, #chunk, 2 do
    local id, score = chunk[index], tonumber(chunk[index + 1])
    local newer = created ~= '' and score == tonumber(created) and id >= before
    if not newer and #found < limit then
      local job = fields(jobs .. id, 'app', 'status', 'created')
      -- A listed job may have expired.
      if job[2] and tonumber(job[3]) == score and (wanted == '' or wanted == job[2]) then
        found[#found + 1] = {id, job[1] or '', job[2], job[3]}
      end
    end
  end
  if #chunk < 2 * CHUNK then
    break
  end
  at = at + CHUNK
end
return found
