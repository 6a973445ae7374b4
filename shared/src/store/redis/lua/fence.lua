-- Checks that a worker holds the job that it writes to; for the scripts of a lease. Included after shared.lua.

-- Returns 'held', 'cancelled' or 'lost'. The attempt's number is not enough: after a failover two workers may have the
-- same number.
local function hold(status, attempt, worker, wanted_attempt, wanted_worker)
  if status == 'cancelled' then
    return 'cancelled'
  end
  if status == 'running' and attempt == wanted_attempt and worker == wanted_worker then
    return 'held'
  end
  return 'lost'
end

-- The reply to a worker that holds the job, with the step from which on it should finish early. `early` is the field of
-- the job's hash.
local function held(seq, early)
  if early and early ~= '' then
    return {'held', seq, early}
  end
  return {'held', seq}
end

-- Extends the lease to `till`, or to the run deadline if that is earlier.
local function extend(keys, id, run, till)
  redis.call('HSET', keys.job, 'lease', int(till))
  redis.call('ZADD', keys.due, int(math.min(tonumber(run), till)), id)
end
