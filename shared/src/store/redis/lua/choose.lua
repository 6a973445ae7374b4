-- Which waiting job a worker gets; for claim. Stands after waiting.lua.

-- How many jobs are read in one go once the first few were of no use: the queue may be long, and all of it beyond this
-- worker.
local CHUNK = 100

-- Of the first `reach` jobs that the worker is capable of the first of its affinity, or else the first; the first at
-- once when it was passed over `max_passed` times. Drops ids that wait no longer. The search begins at the score `from`.
-- Answers the job's id and the first one's, or nil; whether a job stays that the worker is capable of; the score before
-- which none stays; and how many jobs were looked at that it is not capable of.
local function choose(keys, jobs, capabilities, affinity, reach, max_passed, from)
  local first, chosen, first_score, second_score
  local seen, skipped = 0, 0
  -- The place: so many of the jobs of the score `from` are behind it.
  local at, chunk = 0, reach + 1
  -- Many jobs need the same.
  local met = {}
  local ended = false
  while not ended and not (chosen and seen > 1) do
    local list = redis.call('ZRANGE', keys.queue, from, '+inf', 'BYSCORE', 'LIMIT', at, chunk, 'WITHSCORES')
    ended = #list < 2 * chunk
    for index = 1, #list, 2 do
      local id, score = list[index], list[index + 1]
      local job = redis.call('HMGET', jobs .. id, 'status', 'affinity', 'passed', 'needs')
      if job[1] ~= 'queued' then
        redis.call('ZREM', keys.queue, id)
        if not job[1] then
          -- Its hash is gone: it expired while nobody claimed or reaped.
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
  return chosen, first, seen > 1, none_before, skipped
end
