#!lua flags=allow-oom
-- Asks the worker of a running job to finish it with the picture that it has. Notes the step at which it was asked first.
-- KEYS  job, cancel (a channel: '<id> <app> finish <step>')
-- ARGV  id
-- Returns  asked   early (the job has made no step)   done <status>   unknown
local keys, id = {job = KEYS[1], cancel = KEYS[2]}, ARGV[1]

local job = fields(keys.job, 'status', 'app', 'step', 'early', 'quiet')
local status, app, step, early = job[1], job[2], job[3], job[4]
if not status or not app then
  return {'unknown'}
end
if status ~= 'queued' and status ~= 'running' then
  return {'done', status}
end
if early and early ~= '' then
  return {'asked'}
end
if step == '' and job[5] == '1' then
  -- The steps of a job without previews are not known here: its worker finishes after its first one.
  step = '0'
end
if status ~= 'running' or not step or step == '' then
  return {'early'}
end

redis.call('HSET', keys.job, 'early', step)
redis.call('SPUBLISH', keys.cancel, id .. ' ' .. app .. ' finish ' .. step)
return {'asked'}
