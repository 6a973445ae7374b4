-- How a job comes to wait and who is woken for it; for all scripts that put a job into its queue or take one from it.
-- Stands after shared.lua.
-- Workers of the same capabilities sleep at one list, '<wake>:<name>', and all of them at '<wake>' as well. A list
-- holds one token at most. keys.looking scores '<name> <pixels> <word> <word> ...', the capabilities of the workers
-- that claim, by until when they count. Where the queue is long, '<looking>:<name>' says where the search of these
-- workers begins: '<score> <until>'.

-- Whether capabilities, '<pixels> <word> <word> ...', meet what a job needs, written alike; nothing is needed by a job
-- of the release before.
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

-- How much longer than it counts is kept what has its time written in it (ms), as in queue.rs.
local BEYOND_CLOCK = 60 * 1000

-- For how long a long queue's beginning is skipped (us).
local SKIPS = 5 * 1000 * 1000

-- Where the search of these workers begins, if not at the first job: there is none for them before that score.
local function skip_of(keys, name)
  local score, till = string.match(redis.call('GET', keys.looking .. ':' .. name) or '', '^(%S+) (%d+)$')
  return score and {score = score, till = tonumber(till)}
end

local function skip_to(keys, name, score, till)
  redis.call('SET', keys.looking .. ':' .. name, score .. ' ' .. int(till), 'PX', SKIPS / 1000 + BEYOND_CLOCK)
end

-- Puts a token on a list, which lives for so long (ms), or until the token is taken.
local function wake(list, ttl)
  if redis.call('LLEN', list) == 0 then
    redis.call('RPUSH', list, '1')
  end
  if ttl then
    redis.call('PEXPIRE', list, ttl)
  end
end

-- Wakes one of each kind of workers that is capable of a job, whose score is this. Where none is known, one of any: of the release before,
-- say, which does not say what it is capable of.
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

-- Puts a waiting job into its queue, to be looked at when it is due, and says so. Answers its position.
local function enqueue(keys, id, needs, score, due, seq, now)
  redis.call('ZADD', keys.queue, int(score), id)
  redis.call('ZADD', keys.due, int(due), id)
  local position = redis.call('ZRANK', keys.queue, id)
  append(keys.log, seq, int(seq) .. ' {"type":"queued","position":' .. position .. '}')
  wake_capable(keys, needs, score, now)
  return position
end
