-- Take or renew the leader lease of a scope.
-- ARGV: now, scope, token, lease_ms
local leader = key('leader', ARGV[2])
local held = redis.call('HMGET', leader, 'token', 'until')
if held[1] and held[1] ~= ARGV[3] and tonumber(held[2]) > now then return 0 end
if held[1] ~= ARGV[3] then redis.call('HSET', leader, 'since', text(now)) end
redis.call('HSET', leader, 'token', ARGV[3], 'until', text(now + tonumber(ARGV[4])))
return 1
