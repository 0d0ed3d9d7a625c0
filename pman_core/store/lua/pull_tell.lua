-- The holder of a pull's lease lives: renew it, and put off those who wait, with the message for people.
-- ARGV: now, backend, image, token, lease_ms, message
-- Returns {jid, generation, ...} of those who wait | 'lost'
local backend, image = ARGV[2], ARGV[3]
local pull, waiters = key('pull', pulled(backend, image)), key('waiters', pulled(backend, image))
if redis.call('HGET', pull, 'token') ~= ARGV[4] then return 'lost' end
local until_ms = text(now + tonumber(ARGV[5]))
redis.call('HSET', pull, 'until', until_ms)
redis.call('PEXPIRE', pull, ARGV[5] * PULL_TTL_LEASES)
redis.call('PEXPIRE', waiters, ARGV[5] * PULL_TTL_LEASES)
local reply = {}
local all = redis.call('HGETALL', waiters)
for i = 1, #all, 2 do
  local jid, generation = all[i], all[i + 1]
  if wants(jid, generation) then
    redis.call('HSET', key('job', jid), 'next_attempt_at', until_ms)
    if ARGV[6] ~= '' then redis.call('HSET', key('job', jid), 'message', ARGV[6]) end
    redis.call('ZADD', key('waiting', backend), until_ms, jid)
    table.insert(reply, jid)
    table.insert(reply, generation)
  else
    redis.call('HDEL', waiters, jid)
  end
end
return reply
