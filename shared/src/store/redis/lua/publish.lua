#!lua
-- Appends a preview and renews the lease. Writes nothing if seq is not the next one, or if the job has a partial picture
-- of this index, so it may be repeated.
-- KEYS  job, log, due
-- ARGV  now ('' for the server's), id, attempt, worker, lease (us), previews kept, seq, step,
--       index of a partial picture ('' for a preview that newer ones replace), frame
-- Returns  held <the job's seq> <step from which on it should finish early, if it should>   cancelled   lost
--          seq <the right one>: the number of a partial picture is wrong, nothing was written
local keys = {job = KEYS[1], log = KEYS[2], due = KEYS[3]}
local id, attempt, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local kept, seq, step, index, frame = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]

local job = redis.call('HMGET', keys.job, 'status', 'attempt', 'worker', 'seq', 'run', 'first', 'partials', 'early')
local answer = hold(job[1], job[2], job[3], attempt, worker)
if answer ~= 'held' then
  return {answer}
end
local partials = job[7] or ''
if index ~= '' and string.find(partials, ' ' .. index .. ':', 1, true) then
  return held(job[4], job[8])
end
if seq ~= job[4] + 1 then
  return index == '' and held(job[4], job[8]) or {'seq', int(job[4] + 1)}
end

if index ~= '' then
  redis.call('HSET', keys.job, 'seq', int(seq), 'step', step,
    'partials', partials .. ' ' .. index .. ':' .. int(seq))
else
  local first = job[6] ~= '' and tonumber(job[6]) or seq
  redis.call('HSET', keys.job, 'seq', int(seq), 'step', step, 'first', int(first))
  if seq - kept >= first then
    clear(keys.log, seq - kept, seq - kept, partials)
  end
end
append(keys.log, seq, frame)
extend(keys, id, job[5], clock(ARGV[1]) + lease)
return held(int(seq), job[8])
