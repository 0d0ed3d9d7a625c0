-- Look up, compare, create: one step, so that ten clients that post the same jid make one job.
-- ARGV: now, jid, generation, digest, backend, image, cmd, request, requeue_ms, queue ('' = none), message
-- Returns {'new', created_at} | {'same'|'other', record...} | {'retry', upto}
local jid, generation, digest = ARGV[2], ARGV[3], ARGV[4]
local job = key('job', jid)
local found = redis.call('HMGET', job, 'generation', 'digest', 'created_at')
if found[1] == generation then return {'new', found[3]} end -- our own call, repeated by the client library
if found[1] then
  local reply = redis.call('HGETALL', job)
  table.insert(reply, 1, found[2] == digest and 'same' or 'other')
  return reply
end
local upto = redis.call('HGET', key('tomb', jid), 'upto')
if upto and generation <= upto then return {'retry', upto} end
write_new(jid, generation, digest, ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9])
if ARGV[10] ~= '' then redis.call('LPUSH', prefix .. ARGV[10], ARGV[11]) end
return {'new', text(now)}
