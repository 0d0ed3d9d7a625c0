-- Load for wrk: POSTs of jobs with jids of their own, GETs over a range of jids, or one page. The last line is JSON.
-- Arguments: kind ("post", "get" or "page"), path, number of jids, body
local kind, path, jids, body, sent, seed
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread", threads)
end

function init(args)
  kind, path, jids, body = args[1], args[2], tonumber(args[3]), args[4]
  sent, seed = 0, tostring(os.time()) .. "-" .. thread
end

function request()
  sent = sent + 1
  if kind == "page" then return wrk.format("GET", path) end
  if kind == "get" then return wrk.format("GET", path .. "job-" .. (sent * 7919 % jids) .. "/") end
  local jid = "load-" .. seed .. "-" .. sent
  return wrk.format("POST", path, {["Content-Type"] = "application/json"}, (body:gsub("JID", jid)))
end

function done(summary, latency)
  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{"per_s": %.1f, "p50_ms": %.3f, "p95_ms": %.3f, "errors": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(95) / 1000, errors))
end
