#!lua
-- Passes a wake-up on to another worker.
-- KEYS  the list that workers with the same capabilities block on, wake
-- ARGV  time to live of the first list (ms)
-- Returns  done
wake(KEYS[1], ARGV[1])
wake(KEYS[2])
return {'done'}
