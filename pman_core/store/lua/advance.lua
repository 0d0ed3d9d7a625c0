-- THE compare-and-set: the only script that changes the state of a record.
-- ARGV: now, jid, generation, to, sources, token, host, lease_ms, attempts_max, delay_ms, uncounted,
--       fence_ms, only_if_absent, pull, field, value ...
-- Returns a word of `Moved`; a claim of the submit lease that is granted returns the record.
-- 'sources' are the states that 'to' may be entered from, with a space around each.
local jid, generation, to, sources, token, host = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local job = key('job', jid)
local record = redis.call('HMGET', job, 'generation', 'state', 'lease', 'lease_until', 'next_attempt_at',
  'attempts', 'backend', 'host', 'fence_until', 'absent_since', 'image')
if not record[1] then return 'no-record' end
if record[1] ~= generation then return 'other-generation' end
local state, lease, lease_until = record[2], record[3], tonumber(record[4] or 0)
local attempts, backend = tonumber(record[6] or 0), record[7]

local is_ours = token ~= '' and lease == token
if token ~= '' and to ~= 'SUBMITTING' and not is_ours then return 'stale' end
if not string.find(sources, ' ' .. state .. ' ', 1, true) then
  if is_ours then redis.call('HDEL', job, 'lease', 'lease_until') end -- the observer was quicker, the submitter is done
  return 'forbidden'
end
if to == 'QUEUED' and not is_ours then return 'stale' end -- nobody else can know that the attempt has ended

-- Whoever counted the absences may have slept since, and another have seen the job.
if ARGV[13] == '1' and not record[10] then return 'stale' end

-- A pull speaks only for those who wait for it, and only as long as it holds its lease.
if ARGV[14] ~= '' then
  local pulled = backend .. ':' .. record[11]
  local is_theirs = redis.call('HGET', key('pull', pulled), 'token') == ARGV[14]
    and redis.call('HGET', key('waiters', pulled), jid) == generation
  if not is_theirs or state ~= 'QUEUED' then return 'stale' end
end

if to == 'SUBMITTING' then
  if redis.call('EXISTS', key('epoch', backend)) == 0 then return 'sweeping' end
  if is_blocked(key('tomb', jid)) then return 'blocked' end
  if lease and lease_until > now then
    if is_ours then return redis.call('HGETALL', job) end -- our own call, repeated by the client library
    return 'leased'
  end
  if tonumber(record[5] or 0) > now then return 'early' end
  if attempts >= tonumber(ARGV[9]) then return 'exhausted' end
  -- The holder of the expired lease may only be asleep: the name must stay taken long enough to stop it.
  if lease then redis.call('HSET', job, 'fence_until', text(now + tonumber(ARGV[12]))) end
  local until_ms = text(now + tonumber(ARGV[8]))
  redis.call('HSET', job, 'lease', token, 'lease_until', until_ms, 'host', host, 'attempts', attempts + 1)
  redis.call('ZADD', key('waiting', backend), until_ms, jid)
elseif to == 'QUEUED' then
  local due = text(now + tonumber(ARGV[10]))
  redis.call('HDEL', job, 'lease')
  redis.call('HSET', job, 'lease_until', text(now), 'next_attempt_at', due)
  if ARGV[11] == '1' then
    redis.call('HSET', job, 'attempts', attempts - 1)
    redis.call('HINCRBY', job, 'retries', 1)
  end
  redis.call('ZADD', key('waiting', backend), due, jid)
else
  if is_ours then redis.call('HDEL', job, 'lease', 'lease_until') end
  redis.call('HDEL', job, 'absent', 'absent_since', 'next_attempt_at')
  redis.call('ZREM', key('waiting', backend), jid)
  if is_native(to) then
    if is_waiting(state) then
      redis.call('HSET', job, 'handle_at', text(now))
      redis.call('ZADD', key('running', backend), text(now), jid)
    end
  else
    redis.call('ZREM', key('running', backend), jid)
    redis.call('ZADD', key('terminal', backend), text(now), jid)
    redis.call('HSET', job, 'finished_at', text(now)) -- the scheduler's own time, if it told one, comes below
    if to == 'LOST' then
      local at = host ~= '' and host or record[8]
      redis.call('ZADD', key('obligations', backend), text(now), member(jid, generation, at))
      if tonumber(record[9] or 0) > now then redis.call('HSET', key('tomb', jid), 'f:' .. generation, record[9]) end
    end
  end
end

redis.call('HSET', job, 'state', to, unpack(ARGV, 15))
if to == 'SUBMITTING' then return redis.call('HGETALL', job) end
return 'ok'
