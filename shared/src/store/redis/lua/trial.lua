#!lua flags=no-writes
-- Tries commands without their effect: a script of this flag is refused what writes or publishes, but only after the
-- rights of its user have been looked at.
-- KEYS  all those of a partition that ARGV names, or the workers' key
-- ARGV  for each command how many words it has, and the words
-- Answers  a list of {number of the command, error} of those that were refused
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
