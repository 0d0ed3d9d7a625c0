-- A complete sweep is done: submits may begin. What was refused until now is due at once.
-- ARGV: now, backend
local waiting = key('waiting', ARGV[2])
redis.call('SET', key('epoch', ARGV[2]), text(now))
for _, jid in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do redis.call('ZADD', waiting, 'LT', text(now), jid) end
return 1
