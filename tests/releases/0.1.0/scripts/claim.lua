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
-- Chooses the waiting job for a worker; for claim. Included after waiting.lua.

-- How many jobs are read at once after the first few: the queue may be long, and this worker may be capable of none.
local CHUNK = 100

-- Reads the first `reach` jobs that the worker is capable of, from the score `from` on. Chooses the first one with the
-- worker's affinity, otherwise the first one. A job that was passed over `max_passed` times is always chosen. Removes
-- ids of jobs that are not queued.
-- Returns the ids of the chosen and of the first job, or nil; whether there is another job that the worker is capable
-- of; the score below which there is none; the number of skipped jobs, which the worker is not capable of; and the
-- first job's score.
local function choose(keys, jobs, capabilities, affinity, reach, max_passed, from)
  local first, chosen, first_score, second_score
  local seen, skipped = 0, 0
  -- The position of the search: `at` jobs with the score `from` were read.
  local at, chunk = 0, reach + 1
  -- Many jobs have the same needs.
  local met = {}
  local ended = false
  while not ended and not (chosen and seen > 1) do
    local list = redis.call('ZRANGE', keys.queue, from, '+inf', 'BYSCORE', 'LIMIT', at, chunk, 'WITHSCORES')
    ended = #list < 2 * chunk
    for index = 1, #list, 2 do
      local id, score = list[index], list[index + 1]
      local job = fields(jobs .. id, 'status', 'affinity', 'passed', 'needs')
      if job[1] ~= 'queued' then
        redis.call('ZREM', keys.queue, id)
        if not job[1] then
          -- The job's hash has expired, or the id is not a job's.
          redis.call('ZREM', keys.due, id)
        end
      else
        at = score == from and at + 1 or 1
        from = score
        local needs = job[4] or ''
        if met[needs] == nil then
          met[needs] = meets(capabilities, needs)
        end
        if not met[needs] then
          skipped = skipped + 1
        else
          seen = seen + 1
          if seen == 1 then
            first, first_score = id, score
          elseif seen == 2 then
            second_score = score
          end
          if not chosen and ((seen == 1 and tonumber(job[3] or '0') >= max_passed) or (job[2] or '') == affinity) then
            chosen = id
          end
          if not chosen and seen >= reach then
            chosen = first
          end
          if chosen and seen > 1 then
            break
          end
        end
      end
    end
  end
  chosen = chosen or first
  local none_before = chosen ~= first and first_score or second_score or from
  return chosen, first, seen > 1, none_before, skipped, tonumber(first_score)
end

-- Gives a waiting job to a worker.
-- KEYS  queue, wake, due, claim, looking, fair; job, log and checkpoint of the chosen job; and the list that workers
--       with these capabilities block on
-- ARGV  now ('' for the server's), worker, claim number, lease (us), prefixes of job, log and checkpoint keys,
--       time to live of the claim (ms), affinity ('' for none), how many of the first jobs to choose from, how often
--       the first may be passed over, name of the capabilities, the capabilities, how long they count (us),
--       their time to live (ms)
-- Returns  claimed <job> <attempt> <seq> <checkpoint, '' for none>   none
local keys = {queue = KEYS[1], wake = KEYS[2], due = KEYS[3], claim = KEYS[4], looking = KEYS[5],
  fair = KEYS[6]}
local worker, number, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local jobs, logs, checkpoints, kept = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local affinity, reach, max_passed = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local name, capabilities, counts, looking_kept = ARGV[12], ARGV[13], tonumber(ARGV[14]), ARGV[15]
local now = clock(ARGV[1])

-- Writes rarely, because most claims get no job.
local record = name .. ' ' .. capabilities
local counts_till = tonumber(redis.call('ZSCORE', keys.looking, record) or 0)
if counts_till - now < counts / 2 then
  redis.call('ZADD', keys.looking, int(now + counts), record)
  redis.call('PEXPIRE', keys.looking, looking_kept)
end

local known = redis.call('GET', keys.claim)
if known then
  local last, id, attempt, till = string.match(known, '^(%d+) (%S+) (%d+) (%d+)$')
  if last and now < tonumber(till) and number <= tonumber(last) then
    local job = redis.call('HMGET', jobs .. id, 'status', 'attempt', 'worker', 'job', 'seq')
    if number == tonumber(last) and job[1] == 'running' and job[2] == attempt and job[3] == worker then
      return {'claimed', job[4], attempt, job[5], redis.call('GET', checkpoints .. id) or ''}
    end
    return {'none'}
  end
end

local skip = skip_of(keys, name)
if skip and skip.till <= now then
  skip = nil
end
local id, first, more, none_before, skipped, first_score =
  choose(keys, jobs, capabilities, affinity, reach, max_passed, skip and skip.score or '-inf')
if skip or skipped > CHUNK then
  -- The next searches start behind the skipped jobs, until this expires: a process of the previous release adds jobs
  -- without a reset of this position.
  skip_to(keys, name, none_before, skip and skip.till or now + SKIPS)
end
if not id then
  return {'none'}
end
local job = redis.call('HMGET', jobs .. id, 'status', 'attempt', 'seq', 'job', 'started', 'run', 'run_timeout')
local checkpoint = redis.call('GET', checkpoints .. id) or ''
local attempt, seq, till = int(job[2] + 1), job[3] + 1, now + lease
local started = job[5] ~= '' and job[5] or int(now)
local run = job[6] ~= '' and tonumber(job[6]) or now + job[7]

redis.call('ZREM', keys.queue, id)
served(keys.fair, first_score)
if id ~= first then
  redis.call('HINCRBY', jobs .. first, 'passed', 1)
end
redis.call('HSET', jobs .. id, 'status', 'running', 'attempt', attempt, 'worker', worker, 'started', started,
  'run', int(run), 'lease', int(till), 'seq', int(seq))
redis.call('ZADD', keys.due, int(math.min(run, till)), id)
append(logs .. id, seq,
  int(seq) .. ' {"type":"started","attempt":' .. attempt .. ',"worker":"' .. worker .. '"}')
redis.call('SET', keys.claim, int(number) .. ' ' .. id .. ' ' .. attempt .. ' ' .. int(till), 'PX', kept)
if more then
  wake(keys.wake .. ':' .. name, looking_kept)
end
return {'claimed', job[4], attempt, int(seq), checkpoint}
