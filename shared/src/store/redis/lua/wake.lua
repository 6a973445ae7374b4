#!lua
-- Passes a wake-up on.
-- KEYS  the list that workers of the same capabilities sleep at, wake
-- ARGV  how long the former lives (ms)
-- Answers  done
wake(KEYS[1], ARGV[1])
wake(KEYS[2])
return {'done'}
