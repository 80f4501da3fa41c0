-- Put tasks of a run on a stream, and on the run's list of what is unfinished.
--
-- KEYS     stream, run record, set of the run's unfinished task ids
-- ARGV     life of the run's keys (ms), then pairs of task id and body
-- Returns  number of tasks enqueued; -1 where the run is closed

if redis.call('EXISTS', KEYS[2]) == 0 then return -1 end
for i = 2, #ARGV, 2 do
    redis.call('SADD', KEYS[3], ARGV[i])
    redis.call('XADD', KEYS[1], '*', 'body', ARGV[i + 1], 'deliveries', '1')
end
redis.call('PEXPIRE', KEYS[3], ARGV[1])
return (#ARGV - 1) / 2
