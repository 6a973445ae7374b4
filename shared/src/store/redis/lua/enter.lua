-- Puts a new job into its queue; for submit and retry. Included after waiting.lua and pace.lua.
-- First KEYS of both  job, log, queue, due, wake, checkpoint, pace, looking, the tenant's jobs, the tenant's places,
--                     the virtual time of the job's class
-- First ARGV of both  now ('' for the server's), id, limit of the queue, job (JSON), app, digest, class,
--                     start timeout, run timeout (us), time to live of the unfinished job (ms),
--                     affinity ('' for none), steps, the dead job that it retries ('' for none),
--                     its needs ('' for none), its prompt, its tenant, how many jobs of the tenant are listed,
--                     the list's time to live (ms), its webhook ('' for none), the most unfinished jobs of the tenant
--                     ('' if its jobs are not counted, '-' without a limit), how many it has in other partitions, prefix
--                     of job keys, its charge (us), '1' if it has no previews
local keys = {job = KEYS[1], log = KEYS[2], queue = KEYS[3], due = KEYS[4], wake = KEYS[5],
  checkpoint = KEYS[6], pace = KEYS[7], looking = KEYS[8], listed = KEYS[9], places = KEYS[10],
  fair = KEYS[11]}
local id, limit, json, app, digest = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local affinity, steps, retry_of, needs, prompt = ARGV[11], ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local tenant, most_listed, listed_ttl = ARGV[16], tonumber(ARGV[17]), tonumber(ARGV[18])
local webhook, most_places, elsewhere, jobs = ARGV[19], ARGV[20], tonumber(ARGV[21]), ARGV[22]
local charge, quiet = tonumber(ARGV[23]), ARGV[24]
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
    'places', most_places ~= '' and keys.places or '', 'early', '', 'quiet', quiet)
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
