-- A pull is over. The image is there: all may be submitted. It is not, and the lease is ours: all are put off.
-- ARGV: now, backend, image, token, is_fetched, delay_ms, message
-- Returns {jid, generation, ...} of those who have waited
local backend, image, is_fetched, message = ARGV[2], ARGV[3], ARGV[5] == '1', ARGV[7]
local pull, waiters = key('pull', pulled(backend, image)), key('waiters', pulled(backend, image))
local is_ours = redis.call('HGET', pull, 'token') == ARGV[4]
if not is_ours and not is_fetched then return {} end
if is_ours then redis.call('HDEL', pull, 'token', 'until') end
if is_fetched then
  redis.call('HSET', pull, 'fetched', text(now))
  redis.call('PEXPIRE', pull, FETCHED_TTL_MS)
end
local reply = {}
local all = redis.call('HGETALL', waiters)
redis.call('DEL', waiters)
for i = 1, #all, 2 do
  local jid, generation = all[i], all[i + 1]
  local job = key('job', jid)
  if wants(jid, generation) then
    if is_fetched then
      fetched(backend, jid, ARGV[6])
    else
      local due = text(now + tonumber(ARGV[6]))
      redis.call('HSET', job, 'next_attempt_at', due)
      redis.call('ZADD', key('waiting', backend), due, jid)
      if message ~= '' then
        redis.call('HSET', job, 'message', message)
        redis.call('HINCRBY', job, 'retries', 1)
      end
    end
    table.insert(reply, jid)
    table.insert(reply, generation)
  end
end
return reply
