-- Which waiting job a worker gets; for claim. Stands after shared.lua.

-- Of the first `reach` jobs the first of the worker's affinity, or else the head; the head at once when it was passed
-- over `patience` times. Drops ids that wait no longer. Answers the job's id and the head's, or nil.
local function choose(keys, jobs, affinity, reach, patience)
  while true do
    local ids = redis.call('ZRANGE', keys.queue, 0, reach - 1)
    local head
    for _, id in ipairs(ids) do
      local job = redis.call('HMGET', jobs .. id, 'status', 'affinity', 'passed')
      if job[1] == 'queued' then
        local tired = not head and tonumber(job[3] or '0') >= patience
        head = head or id
        if tired or (job[2] or '') == affinity then
          return id, head
        end
      else
        redis.call('ZREM', keys.queue, id)
        if not job[1] then
          -- Its hash is gone: it expired while nobody claimed or reaped.
          redis.call('ZREM', keys.due, id)
        end
      end
    end
    if head or #ids == 0 then
      return head, head
    end
  end
end
