#!lua
-- Passes a wake-up on.
-- KEYS  wake
-- ARGV
-- Answers  done
wake(KEYS[1])
return {'done'}
