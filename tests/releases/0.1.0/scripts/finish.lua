#!lua flags=allow-oom
-- Functions for all scripts. Included after the first line of each script; not a script.
-- Times are in microseconds, exact in a double until 2255. int() writes all digits; `..` would write only 14.

-- Followers read larger frames from the log, because the server limits a subscriber's output buffer.
local LARGEST_MESSAGE = 256 * 1024

local function int(number)
  return string.format('%.0f', number)
end

-- The given time of a test, otherwise the server's time.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The values of a job's hash fields. The list is empty if the key does not hold a hash: then no command can use the job.
local function fields(job, ...)
  local values = redis.pcall('HMGET', job, ...)
  if not values.err then
    return values
  end
  if string.find(values.err, 'WRONGTYPE', 1, true) then
    return {}
  end
  -- The user has lost a right, for example.
  error(values)
end

-- Appends a frame, '<seq> <json>', to a log and publishes it on the channel of the same name.
local function append(log, seq, frame)
  redis.call('XADD', log, int(seq) .. '-0', 'e', frame)
  redis.call('SPUBLISH', log, #frame > LARGEST_MESSAGE and int(seq) .. ' ' or frame)
end

-- Deletes the events `from` to `till` of a log, except the job's partial pictures. `partials` is the field of the job's
-- hash: ' <index>:<seq>' for each of them.
local function clear(log, from, till, partials)
  local kept = {}
  for seq in string.gmatch(partials, ':(%d+)') do
    kept[tonumber(seq)] = true
  end
  for seq = from, till do
    if not kept[seq] then
      redis.call('XDEL', log, int(seq) .. '-0')
    end
  end
end

-- Ends a job: writes its status and its terminal event. The log then has only this event and the partial pictures. If the
-- job has a webhook, makes its delivery due: the job then lives at least `hook_ttl` (ms).
local function conclude(keys, id, status, now, ttl, hook_ttl, seq, frame)
  redis.call('ZREM', keys.queue, id)
  redis.call('ZREM', keys.due, id)
  redis.call('HSET', keys.job, 'status', status, 'finished', int(now), 'seq', int(seq), 'lease', '')
  local known = redis.call('HMGET', keys.job, 'partials', 'webhook', 'places')
  local partials, webhook, places = known[1], known[2], known[3]
  if places and places ~= '' then
    redis.call('ZREM', places, id)
  end
  if partials then
    clear(keys.log, 1, seq - 1, partials)
    redis.call('DEL', keys.checkpoint)
  else
    redis.call('DEL', keys.log, keys.checkpoint)
  end
  append(keys.log, seq, frame)
  if webhook and webhook ~= '' then
    redis.call('HSET', keys.job, 'tries', '0', 'failed', '0', 'hook', ttl)
    redis.call('ZADD', keys.hooks, int(now), id)
    ttl = int(math.max(tonumber(ttl), tonumber(hook_ttl)))
  end
  redis.call('PEXPIRE', keys.job, ttl)
  redis.call('PEXPIRE', keys.log, ttl)
end
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

-- Extends the lease to `till`, or to the run deadline if that is earlier.
local function extend(keys, id, run, till)
  redis.call('HSET', keys.job, 'lease', int(till))
  redis.call('ZADD', keys.due, int(math.min(tonumber(run), till)), id)
end
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

-- Ends a job for the worker that holds it.
-- KEYS  job, log, queue, due, checkpoint, pace, hooks
-- ARGV  now ('' for the server's), id, attempt, worker, status, seq, frame, time to live (ms),
--       how long a pace counts (us), and is kept (ms), time to live with a webhook (ms)
-- Returns  finished   cancelled   lost   seq <the right one>: the frame's number is wrong, nothing was written
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], checkpoint = KEYS[5],
  pace = KEYS[6], hooks = KEYS[7]}
local id, attempt, worker, status = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local seq, frame, ttl = tonumber(ARGV[6]), ARGV[7], ARGV[8]
local counts, kept, hook_ttl = tonumber(ARGV[9]), ARGV[10], ARGV[11]

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'started')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer == 'cancelled' then
  return {'cancelled'}
end
if answer == 'lost' then
  -- Only a finish leaves the worker's name on an ended job, so this is a repeated finish.
  local ended = job[1] == 'completed' or job[1] == 'failed'
  local again = ended and job[2] == attempt and job[3] == worker
  return {again and 'finished' or 'lost'}
end
if seq ~= job[4] + 1 then
  return {'seq', int(job[4] + 1)}
end

local now = clock(ARGV[1])
local pace = status == 'completed' and pace_with(keys.pace, now, now - job[5])

conclude(keys, id, status, now, ttl, hook_ttl, seq, frame)
if pace then
  redis.call('SET', keys.pace, int(pace) .. ' ' .. int(now + counts), 'PX', kept)
end
return {'finished'}
