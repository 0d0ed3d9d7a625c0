-- A complete sweep is done: submits may begin. What was refused until now is due at once.
-- ARGV: now, backend
local waiting = key('waiting', ARGV[2])
redis.call('SET', key('epoch', ARGV[2]), text(now))
-- All at once: there may be a hundred thousand. Half of a time of today is long past, and the order stays: the oldest first.
redis.call('ZUNIONSTORE', waiting, 1, waiting, 'WEIGHTS', 0.5)
return 1
