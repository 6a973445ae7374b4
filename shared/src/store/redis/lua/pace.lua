-- The mean time of an app's jobs, stored as '<mean> <until>' in us; for finish, submit and retry. Included after
-- shared.lua.

-- The mean, if it has not expired.
local function pace_of(key, now)
  local mean, till = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  return mean and now < tonumber(till) and tonumber(mean)
end

-- The mean with one more job. The new job has the weight 1/8.
local function pace_with(key, now, took)
  local mean = pace_of(key, now)
  return mean and math.floor((mean * 7 + took) / 8) or took
end
