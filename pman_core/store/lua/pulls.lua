-- Stands after the prelude, before every script of pulls.
-- 'pull:<backend>:<image>' is who pulls: 'token' and 'until' of the lease, and when the image was last 'fetched'.
-- 'waiters:<backend>:<image>' has a field for each jid that waits: its generation.
-- Both go by themselves: a job that is not woken is due again by its own 'next_attempt_at'.
local PULL_TTL_LEASES = 10
local FETCHED_TTL_MS = 300000

local function pulled(backend, image)
  return backend .. ':' .. image
end

-- A job waits for its image as long as it is there, QUEUED, and not told that the image was fetched.
local function wants(jid, generation)
  local record = redis.call('HMGET', key('job', jid), 'generation', 'state', 'image_at')
  return record[1] == generation and record[2] == 'QUEUED' and tonumber(record[3] or 0) == 0
end

-- It may be submitted at once; it is due again when the message that says so must have been lost.
local function fetched(backend, jid, requeue_ms)
  local job = key('job', jid)
  redis.call('HSET', job, 'image_at', text(now), 'message', '')
  redis.call('HDEL', job, 'next_attempt_at')
  redis.call('ZADD', key('waiting', backend), text(now + tonumber(requeue_ms)), jid)
end
