#!lua flags=no-writes
-- Tries commands without a write: Redis checks the user's rights first, and then refuses a command that writes or
-- publishes in a script with this flag.
-- KEYS  all keys in ARGV
-- ARGV  for each command the number of its words, and the words
-- Returns  a list of {number of the command, error} for the refused commands
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
