-- Operations of a director on the record of its run. Under a lease, they are allowed while the lease's epoch is the
-- job's last one; a director that took over has the run from then on.
--
-- KEYS     run record (hash), set of unfinished ids, list of outcomes, list that wakes the waiter, the job's fence, then
--          the streams its tasks are on
-- ARGV     operation, epoch (0 = under no lease), life of the run's keys (ms), then
--          open      id, job, instant  -> 1
--          enqueue   pairs of task id and body, for the one stream -> tasks enqueued; 0 if the run is closed
--          keep                        -> { 1 if the record exists, unfinished ids, entries of the streams }
--          outcomes                    -> the outcomes so far, which are deleted
--          close     id                -> 1
-- Returns  'stale' if another director has the job

local operation, epoch, life = ARGV[1], ARGV[2], ARGV[3]

if epoch ~= '0' and redis.call('HGET', KEYS[5], 'epoch') ~= epoch then
  return redis.status_reply('stale')
end

if operation == 'open' then
  redis.call('HSET', KEYS[1], 'job', ARGV[5], 'opened_at', ARGV[6])
  if epoch ~= '0' then
    redis.call('HSET', KEYS[1], 'epoch', epoch)
    redis.call('HSET', KEYS[5], 'run', ARGV[4])
  end
  redis.call('PEXPIRE', KEYS[1], life)
  return 1
end

if operation == 'enqueue' then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
  end
  for i = 4, #ARGV, 2 do
    redis.call('SADD', KEYS[2], ARGV[i])
    redis.call('XADD', KEYS[6], '*', 'body', ARGV[i + 1], 'deliveries', '1')
  end
  redis.call('PEXPIRE', KEYS[2], life)
  return (#ARGV - 3) / 2
end

if operation == 'keep' then
  local alive = redis.call('PEXPIRE', KEYS[1], life)
  for i = 2, 4 do
    redis.call('PEXPIRE', KEYS[i], life)
  end
  local queued = 0
  for i = 6, #KEYS do
    queued = queued + redis.call('XLEN', KEYS[i])
  end
  return { alive, redis.call('SCARD', KEYS[2]), queued }
end

if operation == 'outcomes' then
  local found = redis.call('LRANGE', KEYS[3], 0, -1)
  redis.call('DEL', KEYS[3])
  return found
end

-- If a close arrives late, the fence may name the next run already.
if epoch ~= '0' and redis.call('HGET', KEYS[5], 'run') == ARGV[4] then
  redis.call('HDEL', KEYS[5], 'run')
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return 1
