-- The places of a tenant: its unfinished jobs in this partition, a sorted set. Every job takes one when it enters and
-- gives it back with its end (`conclude`). For submit, retry and active. Included after shared.lua.

-- How many jobs are checked at once.
local CHECKED = 32

-- The number of places that are taken. If they are `most` or more, gives back those of jobs that ended unseen: by a
-- process of the previous release, or by the expiry of their keys. `jobs` is the prefix of job keys.
local function places_taken(places, jobs, most, now)
  local taken = redis.call('ZCARD', places)
  if taken < most then
    return taken
  end
  for _, id in ipairs(redis.call('ZRANGE', places, 0, CHECKED - 1)) do
    local status = fields(jobs .. id, 'status')[1]
    if status == 'queued' or status == 'running' then
      -- The next check begins with others.
      redis.call('ZADD', places, int(now), id)
    else
      redis.call('ZREM', places, id)
      taken = taken - 1
    end
  end
  return taken
end
