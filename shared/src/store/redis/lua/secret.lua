#!lua
-- Returns the fleet's secret. If there is none, stores the caller's new secret.
-- KEYS  secret
-- ARGV  a new secret
-- Returns  the secret
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
