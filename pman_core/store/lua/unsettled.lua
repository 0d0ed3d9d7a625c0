-- Which generations of this jid are not verified gone?
-- ARGV: now, jid
local generations = {}
for _, field in ipairs(redis.call('HKEYS', key('tomb', ARGV[2]))) do
  if string.sub(field, 1, 2) == 'g:' then table.insert(generations, string.sub(field, 3)) end
end
table.sort(generations)
return generations
