-- Remove a task from its stream and record its outcome, once even if the task was delivered several times.
--
-- KEYS     stream, run record, set of unfinished ids, list of outcomes, list that wakes the waiter
-- ARGV     group, stream entry, task id, outcome (JSON), life of the run's keys (ms)
-- Returns  1 if this call finished the task, 0 if it was finished before or its run is closed

redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 or redis.call('SREM', KEYS[3], ARGV[3]) == 0 then return 0 end
redis.call('RPUSH', KEYS[4], ARGV[4])
redis.call('PEXPIRE', KEYS[4], ARGV[5])
if redis.call('SCARD', KEYS[3]) == 0 then
    redis.call('RPUSH', KEYS[5], '1')
    redis.call('PEXPIRE', KEYS[5], ARGV[5])
end
return 1
