#!lua flags=no-writes
-- Lists the jobs that reap must look at.
-- KEYS  due
-- ARGV  now ('' for the server's)
-- Answers  a flat list of <id> <when it was due>, earliest first
return redis.call('ZRANGE', KEYS[1], '-inf', int(clock(ARGV[1])), 'BYSCORE', 'WITHSCORES')
