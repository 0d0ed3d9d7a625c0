-- Give the leader lease back, if it is ours.
-- ARGV: now, scope, token
local leader = key('leader', ARGV[2])
if redis.call('HGET', leader, 'token') == ARGV[3] then redis.call('DEL', leader) end
return 1
