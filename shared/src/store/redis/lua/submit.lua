#!lua
-- Puts a new job into its app's queue.
-- KEYS  as in enter.lua
-- ARGV  as in enter.lua
-- Returns  submitted <position>   duplicate   conflict   crowded <unfinished> <pace if there is one>
--          full <waiting> <pace if there is one>
local known = redis.call('HGET', keys.job, 'digest')
if known then
  return {known == digest and 'duplicate' or 'conflict'}
end
return crowded() or full() or {'submitted', enter()}
