#!lua
-- Counts the unfinished jobs of a tenant in a partition.
-- KEYS  the tenant's places
-- ARGV  now ('' for the server's), prefix of job keys
-- Returns  their number
return int(places_taken(KEYS[1], ARGV[2], 1, clock(ARGV[1])))
