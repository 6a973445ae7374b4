#!lua flags=allow-oom
-- Tells the time, if this server does its work: one that loads its file, or is a replica, has a clock too, but runs
-- no script that may write.
-- KEYS  any
-- ARGV
-- Answers  the time (us)
return int(clock(''))
