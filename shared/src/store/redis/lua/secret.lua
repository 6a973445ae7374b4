#!lua
-- Answers the fleet's secret; where there is none, it is the one that the caller has made.
-- KEYS  secret
-- ARGV  a fresh secret
-- Answers  the secret
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
