#!lua flags=allow-oom
-- Removes a member that is not the id of a job from due.
-- KEYS  due
-- ARGV  the member
-- Returns  done
redis.call('ZREM', KEYS[1], ARGV[1])
return {'done'}
