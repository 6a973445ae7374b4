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
