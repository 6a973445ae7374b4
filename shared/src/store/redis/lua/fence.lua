-- Whether a worker holds the job that it writes to; for the scripts of a lease. Stands after shared.lua.

-- 'held', 'cancelled' or 'lost'. A number alone is no proof: a failover can hand it out twice.
local function hold(status, attempt, worker, wanted_attempt, wanted_worker)
  if status == 'cancelled' then
    return 'cancelled'
  end
  if status == 'running' and attempt == wanted_attempt and worker == wanted_worker then
    return 'held'
  end
  return 'lost'
end

-- Holds the job until `till`, or until its run deadline.
local function extend(keys, id, run, till)
  redis.call('HSET', keys.job, 'lease', int(till))
  redis.call('ZADD', keys.due, int(math.min(tonumber(run), till)), id)
end
