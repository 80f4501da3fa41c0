// Reads the newest candles of a key and asks the gate, as a reader of the cache does, by the client library named.
"use strict";

const { readFileSync } = require("node:fs");

// Each opens a client and gives the three calls by its own names.
const LIBRARIES = {
  async ioredis(path) {
    const { Redis } = require("ioredis");
    const client = new Redis({ path });
    return {
      newest: (key, count) => client.zrange(key, -count, -1),
      ask: (script, key, words) => client.eval(script, 1, key, ...words),
      askReadOnly: (script, key, words) => client.eval_ro(script, 1, key, ...words),
      close: () => client.quit(),
    };
  },
  async redis(path) {
    const { createClient } = require("redis");
    const client = await createClient({ socket: { path } }).connect();
    return {
      newest: (key, count) => client.zRange(key, -count, -1),
      ask: (script, key, words) => client.eval(script, { keys: [key], arguments: words }),
      askReadOnly: (script, key, words) => client.evalRo(script, { keys: [key], arguments: words }),
      close: () => client.close(),
    };
  },
};

async function main([library, path, scriptFile, key, bars, grace]) {
  const client = await LIBRARIES[library](path);
  const script = readFileSync(scriptFile, "utf8");
  const candles = (await client.newest(key, Number(bars))).map((member) => JSON.parse(member));
  const ready = await client.ask(script, key, [bars, grace]);
  const readyReadOnly = await client.askReadOnly(script, key, [bars, grace]);
  const detail = await client.ask(script, key, [bars, grace, "any", "0", "members", "detail"]);
  console.log(JSON.stringify({ candles, ready, readyReadOnly, detail }));
  await client.close();
}

main(process.argv.slice(2));
