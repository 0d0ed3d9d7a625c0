-- Stands before every script: the clock and the names of keys.
-- KEYS[1] is the prefix of the instance; the other names are built here (Redis Cluster is refused at start).
-- ARGV[1] is the time in ms that a test wants it to be, 0 = the server's own clock.
local prefix = KEYS[1]

local function text(number)
  return string.format('%.0f', number)
end

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function key(kind, name)
  return prefix .. kind .. ':' .. name
end

local function later(a, b)
  if not a or a < b then return b end
  return a
end

-- A tombstone has a field 'g:<generation>' for every native object that is not verified gone:
-- its value is the end of the submit lease, in ms, 0 once it is returned. 'f:<generation>' is the end of its fence: until then the object,
-- though ended, must keep its name taken. 'upto' covers all generations up to that one.
local function is_blocked(tomb)
  for _, field in ipairs(redis.call('HKEYS', tomb)) do
    if string.sub(field, 1, 2) == 'g:' then return true end
  end
  return false
end

-- A lease that is not returned has a fence behind it: its holder may only be asleep.
local function fenced_until(tomb, generation, fence_ms)
  local times = redis.call('HMGET', tomb, 'g:' .. generation, 'f:' .. generation)
  local lease_until, fence_until = tonumber(times[1] or 0), tonumber(times[2] or 0)
  return lease_until > 0 and math.max(fence_until, lease_until + tonumber(fence_ms)) or fence_until
end

-- One obligation: the object must be looked for until it is gone. A host never has a space in its name.
local function member(jid, generation, host)
  return jid .. ' ' .. generation .. ' ' .. (host or '')
end

-- The list of all jobs is in the order of their generations, which is that of their creation.
local function list(jid, generation)
  redis.call('ZADD', prefix .. 'jobs', 0, generation .. ' ' .. jid)
end

local function unlist(jid, generation)
  redis.call('ZREM', prefix .. 'jobs', generation .. ' ' .. jid)
end

local function forget(jid, generation, backend)
  redis.call('DEL', key('job', jid))
  unlist(jid, generation)
  for _, index in ipairs({'waiting', 'running', 'terminal'}) do
    redis.call('ZREM', key(index, backend), jid)
  end
end

local function bury(jid, upto, ttl_ms)
  local tomb = key('tomb', jid)
  redis.call('HSET', tomb, 'upto', later(redis.call('HGET', tomb, 'upto') or nil, upto))
  if not is_blocked(tomb) then redis.call('PEXPIRE', tomb, ttl_ms) end
end

local function is_waiting(state)
  return state == 'QUEUED' or state == 'SUBMITTING'
end

local function is_native(state)
  return state == 'PENDING' or state == 'RUNNING'
end

-- A record as it is born: QUEUED, due again when the first message must have been lost.
local function write_new(jid, generation, digest, backend, image, cmd, request, requeue_ms)
  redis.call('HSET', key('job', jid), 'generation', generation, 'digest', digest, 'backend', backend,
    'state', 'QUEUED', 'image', image, 'cmd', cmd, 'request', request, 'created_at', text(now))
  redis.call('ZADD', key('waiting', backend), text(now + tonumber(requeue_ms)), jid)
  list(jid, generation)
end
