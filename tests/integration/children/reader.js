// Reads the newest candles of a key and asks the gate, as a reader of the cache does, by the client library named.
"use strict";

const { readFileSync } = require("node:fs");

const CLUSTER = "redis+cluster://";

// Each opens a client of the socket or of the cluster's nodes and gives the three calls by its own names.
const LIBRARIES = {
  async ioredis(path, nodes) {
    const { Cluster, Redis } = require("ioredis");
    const client = nodes ? new Cluster(nodes) : new Redis({ path });
    return {
      newest: (key, count) => client.zrange(key, -count, -1),
      ask: (script, keys, words) => client.eval(script, keys.length, ...keys, ...words),
      askReadOnly: (script, keys, words) => client.eval_ro(script, keys.length, ...keys, ...words),
      close: () => client.quit(),
    };
  },
  async redis(path, nodes) {
    const { createClient, createCluster } = require("redis");
    const rootNodes = nodes?.map(({ host, port }) => ({ url: `redis://${host}:${port}` }));
    const client = nodes ? createCluster({ rootNodes }) : createClient({ socket: { path } });
    await client.connect();
    return {
      newest: (key, count) => client.zRange(key, -count, -1),
      ask: (script, keys, words) => client.eval(script, { keys, arguments: words }),
      askReadOnly: (script, keys, words) => client.evalRo(script, { keys, arguments: words }),
      close: () => client.close(),
    };
  },
};

function nodesOf(address) {
  if (!address.startsWith(CLUSTER)) {
    return undefined;
  }
  const places = address.slice(CLUSTER.length).split(",");
  return places.map((place) => ({ host: place.split(":")[0], port: Number(place.split(":")[1]) }));
}

async function main([library, address, scriptFile, key, bars, grace]) {
  const client = await LIBRARIES[library](address.replace("unix://", ""), nodesOf(address));
  const script = readFileSync(scriptFile, "utf8");
  const candles = (await client.newest(key, Number(bars))).map((member) => JSON.parse(member));
  const ready = await client.ask(script, [key], [bars, grace]);
  const readyReadOnly = await client.askReadOnly(script, [key], [bars, grace]);
  const readyDeclared = await client.ask(script, [key, `{${key}}:evidence`], [bars, grace]);
  const detail = await client.ask(script, [key], [bars, grace, "any", "0", "members", "detail"]);
  console.log(JSON.stringify({ candles, ready, readyReadOnly, readyDeclared, detail }));
  await client.close();
}

main(process.argv.slice(2));
