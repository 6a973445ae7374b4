#!lua
-- Returns the fleet's secret. If there is none, stores the one that the caller has generated.
-- KEYS  secret
-- ARGV  a fresh secret
-- Returns  the secret
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
