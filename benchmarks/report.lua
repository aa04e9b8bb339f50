-- For wrk: what a run gave, as one line of JSON; times in microseconds.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nresult {"requests": %d, "duration": %d, "p50": %d, "p99": %d, "max": %d, ' ..
    '"refused": %d, "broken": %d, "timeouts": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.status, e.connect + e.read + e.write, e.timeout))
end
