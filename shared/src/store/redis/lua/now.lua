#!lua flags=allow-oom
-- Returns the time, if the server accepts writes: a loading server and a replica do not run a script that may write.
-- KEYS  any
-- Returns  the time (us)
return int(clock(''))
