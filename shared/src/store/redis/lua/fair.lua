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
