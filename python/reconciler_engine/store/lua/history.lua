-- Return the history of writes of the server of a key. Needs the text of origin.lua before it.
--
-- KEYS[1]  a key of that server, which is not touched
-- Returns  name of the history, or nothing if the user lacks the right to ask for it

return origin()
