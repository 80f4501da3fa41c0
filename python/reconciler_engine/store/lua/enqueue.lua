-- Put tasks of a run on a stream, and on the run's list of what is unfinished.
--
-- KEYS     stream, run record, set of the run's unfinished task ids, the job's fence
-- ARGV     epoch of the director's lease (0 = none), life of the run's keys (ms), then pairs of task id and body
-- Returns  number of tasks enqueued; -1 where the run is closed, -2 where somebody else directs the job

if ARGV[1] ~= '0' and redis.call('HGET', KEYS[4], 'epoch') ~= ARGV[1] then return -2 end
if redis.call('EXISTS', KEYS[2]) == 0 then return -1 end
for i = 3, #ARGV, 2 do
    redis.call('SADD', KEYS[3], ARGV[i])
    redis.call('XADD', KEYS[1], '*', 'body', ARGV[i + 1], 'deliveries', '1')
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return (#ARGV - 2) / 2
