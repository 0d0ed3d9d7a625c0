-- A sweep found a native object of this instance: what does it mean?
-- ARGV: now, jid, generation, digest, backend, image, cmd, request, requeue_ms, host, is_terminal,
--       keeps_objects, ttl_ms
-- Returns 'known' | 'taken-over' | 'created' | 'remove' | 'holds-back' | 'kept'
local jid, generation, digest, backend, host = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[10]
local tomb, job = key('tomb', jid), key('job', jid)
local record = redis.call('HMGET', job, 'generation', 'digest', 'state', 'lease', 'lease_until')
if record[1] == generation then return 'known' end

local function hold()
  redis.call('HSETNX', tomb, 'g:' .. generation, '0')
  redis.call('PERSIST', tomb)
end

local function oblige()
  hold()
  redis.call('ZADD', key('obligations', backend), 'NX', text(now), member(jid, generation, host))
  return 'remove'
end

local upto = redis.call('HGET', tomb, 'upto')
if upto and generation <= upto then
  local is_fenced = tonumber(redis.call('HGET', tomb, 'f:' .. generation) or 0) > now
  if ARGV[11] == '1' and (ARGV[12] == '1' or is_fenced) then return 'kept' end
  return oblige()
end
if not record[1] then
  write_new(jid, generation, digest, backend, ARGV[6], ARGV[7], ARGV[8], ARGV[9])
  redis.call('HSET', job, 'host', host)
  return 'created'
end

local is_leased = record[4] and tonumber(record[5] or 0) > now
if not is_waiting(record[3]) or is_leased then -- a double: the record has its own object
  if ARGV[11] == '1' and ARGV[12] == '1' and generation < record[1] then return 'kept' end
  return oblige()
end
if redis.call('ZSCORE', key('obligations', backend), member(jid, generation, host)) then return 'remove' end
if record[2] == digest then
  unlist(jid, record[1])
  list(jid, generation)
  redis.call('HSET', job, 'generation', generation, 'host', host)
  redis.call('HDEL', job, 'lease', 'lease_until', 'next_attempt_at')
  bury(jid, record[1], ARGV[13]) -- a submitter of the old generation may still make an object: it is one to remove
  return 'taken-over'
end
if ARGV[11] == '1' then return oblige() end
hold()
return 'holds-back'
