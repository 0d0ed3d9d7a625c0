-- A job waits for an image; if nobody pulls it, its lease is taken.
-- ARGV: now, backend, image, token, lease_ms, jid, generation, requeue_ms
-- Returns 'holds' | 'waits' | 'ready' | 'gone'
local backend, image, token, jid, generation = ARGV[2], ARGV[3], ARGV[4], ARGV[6], ARGV[7]
local pull = key('pull', pulled(backend, image))
if not wants(jid, generation) then return 'gone' end
local held = redis.call('HMGET', pull, 'token', 'until', 'fetched')
-- 'lease_until' is when the submitter gave the job back, because the image was not there.
local asked = tonumber(redis.call('HGET', key('job', jid), 'lease_until') or 0)
if held[3] and tonumber(held[3]) > asked then
  fetched(backend, jid, ARGV[8])
  return 'ready'
end
local waiters = key('waiters', pulled(backend, image))
redis.call('HSET', waiters, jid, generation)
redis.call('PEXPIRE', waiters, ARGV[5] * PULL_TTL_LEASES)
if held[1] and held[1] ~= token and tonumber(held[2]) > now then return 'waits' end
redis.call('HSET', pull, 'token', token, 'until', text(now + tonumber(ARGV[5])))
redis.call('PEXPIRE', pull, ARGV[5] * PULL_TTL_LEASES)
return 'holds'
