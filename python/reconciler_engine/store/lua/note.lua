-- Write fields of a hash for a job's director, unless another engine directs the job.
--
-- KEYS     hash, the job's fence
-- ARGV     epoch (0 = under no lease), life of the hash (ms), most fields, then fields and values
-- Returns  1 if they were written, 0 if another engine directs the job

if ARGV[1] ~= '0' and redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then
  return 0
end
-- Another program filled the hash. Its contents are for display, and the next passes write them again.
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
