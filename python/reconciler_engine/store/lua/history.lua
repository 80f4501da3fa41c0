-- The history of writes that the server of a key goes on with. It follows the text of origin.lua.
--
-- KEYS[1]  a key of that server, which is not touched
-- Returns  its name, or nothing where the user may not ask for it

return origin()
