-- Is an earlier generation of this jid not verified gone?
-- ARGV: now, jid
return is_blocked(key('tomb', ARGV[2])) and 1 or 0
