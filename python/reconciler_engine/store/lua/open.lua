-- Whether a run still wants its tasks done: its record is there, and no other run of the job was opened since.
--
-- KEYS     run record, the job's fence
-- ARGV     run id

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if not redis.call('HGET', KEYS[1], 'epoch') or redis.call('HGET', KEYS[2], 'run') == ARGV[1] then
  return 1
end
return 0
