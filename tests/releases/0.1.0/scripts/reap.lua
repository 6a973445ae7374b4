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
-- Puts a job into its queue and wakes a worker for it; for all scripts that add to a queue or take from it. Included
-- after shared.lua.
-- Workers with the same capabilities block on the list '<wake>:<name>', and all workers also on '<wake>'. A list has at
-- most one token. keys.looking is a sorted set of '<name> <pixels> <word> <word> ...': the capabilities of workers that
-- claim, scored by their expiry. In a long queue '<looking>:<name>' is the position where the search of these workers
-- starts: '<score> <until>'.

-- Whether capabilities, '<pixels> <word> <word> ...', meet a job's needs, in the same form. A job of the previous
-- release has no needs.
local function meets(capabilities, needs)
  if not needs or needs == '' then
    return true
  end
  if tonumber(string.match(capabilities, '^%d+') or 0) < tonumber(string.match(needs, '^%d+') or 0) then
    return false
  end
  for word in string.gmatch(needs, ' (%S+)') do
    if not string.find(capabilities .. ' ', ' ' .. word .. ' ', 1, true) then
      return false
    end
  end
  return true
end

-- How long a value with its own expiry time is kept after that time (ms), as in queue.rs.
local BEYOND_CLOCK = 60 * 1000

-- How long a search may start behind the head of a long queue (us).
local SKIPS = 5 * 1000 * 1000

-- The score where the search of these workers starts: no job below it is suitable for them. nil for the head.
local function skip_of(keys, name)
  local score, till = string.match(redis.call('GET', keys.looking .. ':' .. name) or '', '^(%S+) (%d+)$')
  return tonumber(score or '') and {score = score, till = tonumber(till)}
end

local function skip_to(keys, name, score, till)
  redis.call('SET', keys.looking .. ':' .. name, score .. ' ' .. int(till), 'PX', SKIPS / 1000 + BEYOND_CLOCK)
end

-- Puts a token on a list. The list has this time to live (ms); without `ttl` it lives until the token is taken.
local function wake(list, ttl)
  if redis.call('LLEN', list) == 0 then
    redis.call('RPUSH', list, '1')
  end
  if ttl then
    redis.call('PEXPIRE', list, ttl)
  end
end

-- Wakes one worker of each kind that is capable of the job with this score. If no kind is known, wakes any worker: a
-- worker of the previous release does not state its capabilities.
local function wake_capable(keys, needs, score, now)
  local looking = redis.call('ZRANGE', keys.looking, 0, -1, 'WITHSCORES')
  local woken = false
  for index = 1, #looking, 2 do
    local name, text = string.match(looking[index], '^(%S+) (.*)$')
    local left = tonumber(looking[index + 1]) - now
    if not name or left <= 0 then
      redis.call('ZREM', keys.looking, looking[index])
    elseif meets(text, needs) then
      wake(keys.wake .. ':' .. name, int(math.ceil(left / 1000) + BEYOND_CLOCK))
      local skip = skip_of(keys, name)
      if skip and tonumber(skip.score) > score then
        skip_to(keys, name, int(score), skip.till)
      end
      woken = true
    end
  end
  if not woken then
    wake(keys.wake)
  end
end

-- Puts a queued job into its queue and into due, appends a queued event, and wakes workers. Returns its position.
local function enqueue(keys, id, needs, score, due, seq, now)
  redis.call('ZADD', keys.queue, int(score), id)
  redis.call('ZADD', keys.due, int(due), id)
  local position = redis.call('ZRANK', keys.queue, id)
  append(keys.log, seq, int(seq) .. ' {"type":"queued","position":' .. position .. '}')
  wake_capable(keys, needs, score, now)
  return position
end
-- Takes a job from its worker; for release and reap. Included after waiting.lua.

-- Ends the job with a failed event.
local function fail(keys, id, now, ttl, hook_ttl, seq, json)
  redis.call('HSET', keys.job, 'worker', '')
  conclude(keys, id, 'failed', now, ttl, hook_ttl, seq, int(seq) .. ' ' .. json)
end

-- Puts the job back into the queue, with its old score. A fault counts as an attempt; after the last one the job is
-- dead. `fault` is nil, or {head, tail}: the failed event before and after the number of attempts.
-- Returns 'given_back' or 'ended'.
local function give_back(keys, id, now, rules, fault)
  local job = redis.call('HMGET', keys.job, 'faults', 'seq', 'first', 'score', 'run', 'needs',
    'partials')
  local faults, seq = tonumber(job[1]), tonumber(job[2])
  if fault then
    faults = faults + 1
  end
  if fault and faults >= rules.attempts then
    redis.call('HSET', keys.job, 'faults', int(faults))
    fail(keys, id, now, rules.dead_ttl, rules.hook_ttl, seq + 1, fault[1] .. int(faults) .. fault[2])
    redis.call('ZADD', keys.dead, int(now), id)
    redis.call('ZREMRANGEBYRANK', keys.dead, 0, -(rules.dead_kept + 1))
    return 'ended'
  end
  if job[3] ~= '' then
    clear(keys.log, tonumber(job[3]), seq, job[7] or '')
  end
  redis.call('HSET', keys.job, 'status', 'queued', 'worker', '', 'step', '', 'first', '', 'lease', '',
    'faults', int(faults), 'seq', int(seq + 1))
  enqueue(keys, id, job[6], tonumber(job[4]), tonumber(job[5]), seq + 1, now)
  return 'given_back'
end

-- Ends an overdue job, or takes a job from a worker with an expired lease.
-- KEYS  job, log, queue, due, wake, dead, checkpoint, looking, hooks
-- ARGV  now ('' for the server's), id, app, the store's time that the caller last read, its maximum age (us),
--       allowed attempts, the failed events of start timeout and run timeout (JSON), the failed event of the last
--       attempt before and after the number of attempts, times to live of an ended and of a dead job (ms),
--       dead jobs kept, time to live of an ended job with a webhook (ms)
-- Returns  ended <now>   given_back <now>   nothing <now>
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], wake = KEYS[5], dead = KEYS[6],
  checkpoint = KEYS[7], looking = KEYS[8], hooks = KEYS[9]}
local id, app, seen, within = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local start_timeout, run_timeout, fault, ended_ttl = ARGV[7], ARGV[8], {ARGV[9], ARGV[10]}, ARGV[11]
local rules = {attempts = tonumber(ARGV[6]), dead_ttl = ARGV[12], dead_kept = tonumber(ARGV[13]),
  hook_ttl = ARGV[14]}
local now = clock(ARGV[1])

-- The command waited too long, for example in the socket of a frozen server: the workers' renewals must run first.
if now - seen > within then
  return {'nothing', int(now)}
end
local job = fields(keys.job, 'status', 'seq', 'start', 'run', 'lease', 'app')
if not job[1] then
  -- The job's hash is gone, so its queue is unknown. A claim removes the id from the right queue.
  redis.call('ZREM', keys.queue, id)
  redis.call('ZREM', keys.due, id)
  return {'nothing', int(now)}
end
if job[6] ~= app or (job[1] ~= 'queued' and job[1] ~= 'running') then
  return {'nothing', int(now)}
end

local seq, run, lease = job[2] + 1, tonumber(job[4]), tonumber(job[5])
local due = run and math.min(run, lease or run) or tonumber(job[3])
if due > now then
  return {'nothing', int(now)}
end
if not run then
  fail(keys, id, now, ended_ttl, rules.hook_ttl, seq, start_timeout)
  return {'ended', int(now)}
end
if run <= now then
  fail(keys, id, now, ended_ttl, rules.hook_ttl, seq, run_timeout)
  return {'ended', int(now)}
end
return {give_back(keys, id, now, rules, fault), int(now)}
