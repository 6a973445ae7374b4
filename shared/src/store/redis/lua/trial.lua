#!lua flags=no-writes
-- Tries commands without their effect: Redis refuses commands that write or publish in a script with this flag, but
-- only after it has checked the user's rights.
-- KEYS  all those of a partition that ARGV names, or the workers' key
-- ARGV  for each command the number of its words, and the words
-- Returns  a list of {number of the command, error} of those that were refused
local refused, at, number = {}, 1, 0
while ARGV[at] do
  local count = tonumber(ARGV[at])
  local answer = redis.pcall(unpack(ARGV, at + 1, at + count))
  number = number + 1
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = {int(number), answer.err}
  end
  at = at + 1 + count
end
return refused
