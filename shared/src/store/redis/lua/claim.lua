#!lua
-- Gives a waiting job to a worker.
-- KEYS  queue, wake, due, claim, looking, fair; job, log and checkpoint of the chosen job; and the list that workers
--       with these capabilities block on
-- ARGV  now ('' for the server's), worker, claim number, lease (us), prefixes of job, log and checkpoint keys,
--       time to live of the claim (ms), affinity ('' for none), how many of the first jobs to choose from, how often
--       the first may be passed over, name of the capabilities, the capabilities, how long they count (us),
--       their time to live (ms)
-- Returns  claimed <job> <attempt> <seq> <step from which on it should finish early, '' for none>
--          <checkpoint, '' for none>   none
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
    local job = redis.call('HMGET', jobs .. id, 'status', 'attempt', 'worker', 'job', 'seq', 'early')
    if number == tonumber(last) and job[1] == 'running' and job[2] == attempt and job[3] == worker then
      return {'claimed', job[4], attempt, job[5], job[6] or '', redis.call('GET', checkpoints .. id) or ''}
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
local job = redis.call('HMGET', jobs .. id, 'status', 'attempt', 'seq', 'job', 'started', 'run', 'run_timeout',
  'early')
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
return {'claimed', job[4], attempt, int(seq), job[8] or '', checkpoint}
