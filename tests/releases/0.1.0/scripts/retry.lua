#!lua
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
-- Fairness between tenants, as in transition/fair.rs; for claim, submit and retry. Included after shared.lua.

-- The last start that a score holds besides the class.
local LAST_START = 2 ^ 51 - 1

-- How long the virtual time of a queue that nobody uses is kept (ms).
local FAIR_KEPT = 7 * 24 * 60 * 60 * 1000

-- The start of a new job in the virtual time of its class, keys.fair.
local function start_of(keys, class, tenant, charge, now)
  local times = redis.call('HMGET', keys.fair, 'now', 'last', 't:' .. tenant)
  local virtual, last, before = tonumber(times[1] or 0), tonumber(times[2] or 0), tonumber(times[3] or 0)
  local first = redis.call('ZRANGE', keys.queue, int(class * 2 ^ 51), '(' .. int((class + 1) * 2 ^ 51), 'BYSCORE',
    'LIMIT', 0, 1)
  if #first == 0 then
    -- Nobody waits, so nobody is behind anybody else.
    virtual, before = math.max(virtual, now, last), 0
    redis.call('DEL', keys.fair)
  end
  local start = math.min(math.max(virtual, before), LAST_START)
  local finish = start + charge
  redis.call('HSET', keys.fair, 'now', int(virtual), 'last', int(math.max(last, finish)),
    't:' .. tenant, int(finish))
  redis.call('PEXPIRE', keys.fair, FAIR_KEPT)
  return start
end

-- A job was claimed while the one with this score was the first. `fair` is the beginning of the name of the virtual
-- times. A job of the previous release may be the first where there is none.
local function served(fair, score)
  local class = math.floor(score / 2 ^ 51)
  local key, start = fair .. ':' .. int(class), score - class * 2 ^ 51
  local virtual = redis.call('HMGET', key, 'now')[1]
  if virtual and tonumber(virtual) < start then
    redis.call('HSET', key, 'now', int(start))
  end
end
-- Puts a new job into its queue; for submit and retry. Included after waiting.lua and pace.lua.
-- First KEYS of both  job, log, queue, due, wake, checkpoint, pace, looking, the tenant's jobs, the tenant's places,
--                     the virtual time of the job's class
-- First ARGV of both  now ('' for the server's), id, limit of the queue, job (JSON), app, digest, class,
--                     start timeout, run timeout (us), time to live of the unfinished job (ms),
--                     affinity ('' for none), steps, the dead job that it retries ('' for none),
--                     its needs ('' for none), its prompt, its tenant, how many jobs of the tenant are listed,
--                     the list's time to live (ms), its webhook ('' for none), the most unfinished jobs of the tenant
--                     ('' if its jobs are not counted, '-' without a limit), how many it has in other partitions, prefix
--                     of job keys, its charge (us)
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], wake = KEYS[5],
  checkpoint = KEYS[6], pace = KEYS[7], looking = KEYS[8], listed = KEYS[9], places = KEYS[10],
  fair = KEYS[11]}
local id, limit, json, app, digest = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local affinity, steps, retry_of, needs, prompt = ARGV[11], ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local tenant, most_listed, listed_ttl = ARGV[16], tonumber(ARGV[17]), tonumber(ARGV[18])
local webhook, most_places, elsewhere, jobs = ARGV[19], ARGV[20], tonumber(ARGV[21]), ARGV[22]
local charge = tonumber(ARGV[23])
local now = clock(ARGV[1])
local class, start_timeout, run_timeout, ttl = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]

-- The reply if the tenant has no place left, otherwise false.
local function crowded()
  local most = tonumber(most_places)
  if not most then
    return false
  end
  local taken = elsewhere + places_taken(keys.places, jobs, most - elsewhere, now)
  local pace = pace_of(keys.pace, now)
  return taken >= most and {'crowded', taken, pace and int(pace) or nil}
end

-- The reply if the queue is full, otherwise false.
local function full()
  local waiting = redis.call('ZCARD', keys.queue)
  local pace = pace_of(keys.pace, now)
  return waiting >= limit and {'full', waiting, pace and int(pace) or nil}
end

-- Creates the job and returns its position.
local function enter()
  -- The class comes before the start. A score is a double, which holds both exactly.
  local score = class * 2 ^ 51 + start_of(keys, class, tenant, charge, now)
  redis.call('HSET', keys.job, 'job', json, 'app', app, 'digest', digest, 'status', 'queued', 'attempt', '0',
    'faults', '0', 'worker', '', 'seq', '1', 'step', '', 'first', '', 'score', int(score),
    'created', int(now), 'started', '', 'finished', '', 'lease', '', 'run', '',
    'start', int(now + start_timeout), 'run_timeout', run_timeout,
    'affinity', affinity, 'passed', '0', 'steps', steps, 'retry_of', retry_of,
    'needs', needs, 'prompt', prompt, 'tenant', tenant, 'webhook', webhook,
    'places', most_places ~= '' and keys.places or '')
  -- An old log without its job may have higher entry ids. An old checkpoint belongs to another job.
  redis.call('DEL', keys.log, keys.checkpoint)
  local position = enqueue(keys, id, needs, score, now + start_timeout, 1, now)
  redis.call('PEXPIRE', keys.job, ttl)
  redis.call('PEXPIRE', keys.log, ttl)
  if most_places ~= '' then
    redis.call('ZADD', keys.places, int(now), id)
    if redis.call('PTTL', keys.places) < listed_ttl then
      redis.call('PEXPIRE', keys.places, listed_ttl)
    end
  end
  redis.call('ZADD', keys.listed, int(now), id)
  redis.call('ZREMRANGEBYRANK', keys.listed, 0, -1 - most_listed)
  if redis.call('PTTL', keys.listed) < listed_ttl then
    redis.call('PEXPIRE', keys.listed, listed_ttl)
  end
  return position
end

-- Submits a dead job again as a new job, and removes it from the dead list.
-- KEYS  those of enter.lua for the new job; dead, old job
-- ARGV  those of enter.lua for the new job; old id
-- Returns  submitted <position>   duplicate   full <waiting> <pace if there is one>   unknown
local dead, old, old_id = KEYS[12], KEYS[13], ARGV[24]

-- The caller read the old job before and made the new job from it.
local job = redis.call('HMGET', old, 'app', 'digest', 'finished')
if job[1] ~= app or job[2] ~= digest then
  return {'unknown'}
end
if redis.call('EXISTS', keys.job) == 1 then
  return {'duplicate'}
end
-- The entry may be older than a reuse of the id.
local died = redis.call('ZSCORE', dead, old_id)
if not died or tonumber(died) ~= tonumber(job[3]) then
  return {'unknown'}
end
local refused = full()
if refused then
  return refused
end

redis.call('ZREM', dead, old_id)
return {'submitted', enter()}
