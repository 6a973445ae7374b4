#!lua flags=allow-oom
-- Leases the most overdue delivery of a webhook. Gives up those whose last try has expired.
-- KEYS  hooks; and the job and the log of each entry
-- ARGV  now ('' for the server's), lease (us), tries after which a webhook is given up, prefixes of job and log keys
-- Returns  deliver <job> <number of the try> <webhook>   none
local hooks, jobs, logs = KEYS[1], ARGV[4], ARGV[5]
local now, lease, most = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

while true do
  local id = redis.call('ZRANGE', hooks, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not id then
    return {'none'}
  end
  local job = fields(jobs .. id, 'hook', 'tries', 'webhook')
  local tries = tonumber(job[2] or '')
  if not job[1] or job[1] == '' or not tries then
    -- The job's hash has expired, or the entry is older than a reuse of the id.
    redis.call('ZREM', hooks, id)
  elseif tries >= most then
    settle({job = jobs .. id, log = logs .. id, hooks = hooks}, id, job[1])
  else
    redis.call('HSET', jobs .. id, 'tries', int(tries + 1))
    redis.call('ZADD', hooks, int(now + lease), id)
    return {'deliver', id, int(tries + 1), job[3]}
  end
end
