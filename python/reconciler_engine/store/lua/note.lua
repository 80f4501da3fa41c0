-- Write fields of a hash for a job's director, unless somebody else directs the job.
--
-- KEYS     hash, the job's fence
-- ARGV     epoch (0 = under no lease), life of the hash (ms), most fields, then fields and values
-- Returns  1 where they were written, 0 where somebody else directs the job

if ARGV[1] ~= '0' and redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] then
  return 0
end
-- Somebody else filled it; its contents are for display, and written anew by the next passes.
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
