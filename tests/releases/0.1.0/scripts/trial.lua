#!lua flags=no-writes
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

-- Tries commands without a write: Redis checks the user's rights first, and then refuses a command that writes or
-- publishes in a script with this flag.
-- KEYS  all keys in ARGV
-- ARGV  for each command the number of its words, and the words
-- Returns  a list of {number of the command, error} for the refused commands
local refused, at, number = {}, 1, 0
while ARGV[at] do
  local count = tonumber(ARGV[at])
  local answer = redis.pcall(unpack(ARGV, at + 1, at + count))
  number = number + 1
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = {int(number), answer.err}
  end
  at = at + 1 + count
end
return refused
