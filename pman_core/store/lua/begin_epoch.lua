-- A complete sweep is done: submits may begin. What was refused until now is due at once.
-- ARGV: now, backend
local waiting = key('waiting', ARGV[2])
redis.call('SET', key('epoch', ARGV[2]), text(now))
redis.call('ZUNIONSTORE', waiting, 1, waiting, 'WEIGHTS', 0) -- all at once: there may be a hundred thousand
return 1
