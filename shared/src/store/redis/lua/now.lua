#!lua flags=allow-oom
-- Returns the time if this server can do its work: a server that is loading its file, or is a replica, does not run
-- scripts that may write.
-- KEYS  any
-- ARGV
-- Returns  the time (us)
return int(clock(''))
