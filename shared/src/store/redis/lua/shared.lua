-- Functions of several scripts. Included after the first line of each of them; not a script.
-- Times are microseconds, exact in a double until 2255; int() writes them out in full, where `..` would keep
-- 14 digits.

-- Followers read larger frames from the log: the server limits a subscriber's output buffer.
local LARGEST_MESSAGE = 256 * 1024

local function int(number)
  return string.format('%.0f', number)
end

-- The time that a test has given, otherwise this server's.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The next entry of a log, which is also the name of its channel. A frame is '<seq> <json>'.
local function append(log, seq, frame)
  redis.call('XADD', log, int(seq) .. '-0', 'e', frame)
  redis.call('SPUBLISH', log, #frame > LARGEST_MESSAGE and int(seq) .. ' ' or frame)
end

-- Writes the terminal event and its status. Only this entry remains in the log.
local function conclude(keys, id, status, now, ttl, seq, frame)
  redis.call('ZREM', keys.queue, id)
  redis.call('ZREM', keys.due, id)
  redis.call('HSET', keys.job, 'status', status, 'finished', int(now), 'seq', int(seq), 'lease', '')
  redis.call('DEL', keys.log, keys.checkpoint)
  append(keys.log, seq, frame)
  redis.call('PEXPIRE', keys.job, ttl)
  redis.call('PEXPIRE', keys.log, ttl)
end
