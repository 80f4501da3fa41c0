-- Return whether a run is open: its record exists, and no other run of the job was opened since. With a task id, also
-- whether this task is unfinished.
--
-- KEYS     run record, the job's fence, set of unfinished ids
-- ARGV     run id, id of the task ('' = any)

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[2] ~= '' and redis.call('SISMEMBER', KEYS[3], ARGV[2]) == 0 then
  return 0
end
if not redis.call('HGET', KEYS[1], 'epoch') or redis.call('HGET', KEYS[2], 'run') == ARGV[1] then
  return 1
end
return 0
