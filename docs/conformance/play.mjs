// Acts conformance vectors out with a router, as README.md beside this says. It needs Node.js and the package ws:
//
//     node play.mjs FILE... -- PROGRAM ARGUMENT...
//
// PROGRAM is the router, which says on its first line where it listens. Vectors with MessagePack are left out.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import WebSocket from "ws";

const PATIENCE_MS = 20_000;
const MOMENT_MS = 300;

// --- patterns --------------------------------------------------------------------------------------------------------

class Mismatch extends Error {}

function expect(isSo, otherwise) {
  if (!isSo) throw new Mismatch(otherwise);
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const matches = (pattern) => (value) => typeof value === "string" && pattern.test(value);

const KINDS = {
  any: () => true,
  string: matches(/./s),
  integer: Number.isInteger,
  number: (value) => typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  object: isObject,
  array: Array.isArray,
  id: (value) => typeof value === "string" || Number.isInteger(value),
  epoch: (value) => Number.isSafeInteger(value) && value > 0,
  trace_id: matches(/^[A-Za-z0-9_-]{1,128}$/),
  time: matches(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/),
};

/** Hold a value against a pattern; names are remembered. */
function compare(pattern, value, names, path = "the message") {
  const said = JSON.stringify(value);
  if (Array.isArray(pattern)) {
    expect(Array.isArray(value) && value.length === pattern.length, `${path}: ${said} has not ${pattern.length} items`);
    pattern.forEach((inner, index) => compare(inner, value[index], names, `${path}[${index}]`));
  } else if (!isObject(pattern)) {
    expect(value === pattern, `${path}: ${said} is not ${JSON.stringify(pattern)}`);
  } else if ("$ref" in pattern) {
    expect(value === names[pattern.$ref], `${path}: ${said} is not ${pattern.$ref}, ${names[pattern.$ref]}`);
  } else if (pattern.$match === "unordered") {
    expect(Array.isArray(value) && value.length === pattern.items.length, `${path}: ${said} has not as many items`);
    const left = [...value];
    for (const inner of pattern.items) {
      const index = left.findIndex((item) => fits(inner, item, names));
      expect(index >= 0, `${path}: no item of ${said} is ${JSON.stringify(inner)}`);
      left.splice(index, 1);
    }
  } else if ("$match" in pattern) {
    const { $match: kind, as, above, at_most: atMost } = pattern;
    expect(KINDS[kind](value), `${path}: ${said} is no ${kind}`);
    expect(above === undefined || value > names[above], `${path}: ${said} is not above ${above}`);
    expect(atMost === undefined || value <= atMost, `${path}: ${said} is above ${atMost}`);
    if (as !== undefined) names[as] = value;
  } else {
    expect(isObject(value), `${path}: ${said} is no object`);
    for (const [name, inner] of Object.entries(pattern)) {
      expect(name in value !== (inner?.$match === "absent"), `${path}.${name}: must${name in value ? " not" : ""} be there`);
      if (name in value) compare(inner, value[name], names, `${path}.${name}`);
    }
  }
}

function fits(pattern, value, names) {
  const tried = { ...names };
  try {
    compare(pattern, value, tried);
  } catch {
    return false;
  }
  return Object.assign(names, tried) === names;
}

/** What is to be sent, with each `$ref` replaced by what it stands for. */
function fillIn(message, names) {
  if (Array.isArray(message)) return message.map((item) => fillIn(item, names));
  if (!isObject(message)) return message;
  if ("$ref" in message) return names[message.$ref];
  return Object.fromEntries(Object.entries(message).map(([name, value]) => [name, fillIn(value, names)]));
}

// --- sessions and routers --------------------------------------------------------------------------------------------

class Peer {
  heard = [];
  /** Its end: a close code, or the status with which it was refused. */
  end = null;
  #look = () => {};

  static async connect(url, subprotocols) {
    const peer = new Peer();
    peer.socket = new WebSocket(url, subprotocols, { perMessageDeflate: false });
    const over = (end) => {
      peer.end ??= end;
      peer.#look();
    };
    peer.socket.on("error", () => {}); // the end comes after it
    peer.socket.on("close", (closeCode) => over({ closeCode }));
    peer.socket.on("unexpected-response", (request, { statusCode }) => {
      over({ status: statusCode });
      request.destroy();
    });
    peer.socket.on("message", (data) => {
      const hasLines = peer.socket.protocol === "resroute.v1.ndjson";
      peer.heard.push(...(hasLines ? data.toString().split("\n").filter(Boolean) : [data.toString()]));
      peer.#look();
    });
    peer.socket.on("open", () => peer.#look());
    await peer.until(() => peer.end || peer.socket.readyState === WebSocket.OPEN);
    return peer;
  }

  async until(isSo) {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    while (!isSo() && !patience.aborted) {
      await new Promise((resolve) => {
        this.#look = resolve;
        patience.onabort = resolve;
      });
    }
  }

  async next() {
    await this.until(() => this.heard.length || this.end);
    expect(this.heard.length, `nothing is heard${this.end ? `, and its end is ${JSON.stringify(this.end)}` : ""}`);
    return this.heard.shift();
  }

  async hearsNothing() {
    await new Promise((resolve) => setTimeout(resolve, MOMENT_MS));
    expect(!this.heard.length, `${this.heard[0]} is heard besides`);
  }

  async ends(end) {
    await this.until(() => this.end);
    expect(JSON.stringify(this.end) === JSON.stringify(end), `its end is ${JSON.stringify(this.end)}`);
  }

  send(data, options) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data, options);
  }
}

async function startRouter([program, ...args], settings) {
  const own = Object.entries(settings).map(([name, value]) => [`RESROUTE_${name.toUpperCase()}`, String(value)]);
  const env = { ...process.env, ...Object.fromEntries(own) };
  const router = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  for await (const chunk of router.stderr.iterator({ destroyOnReturn: false })) {
    log += chunk;
    const [, url] = /(ws:\/\/\S+)/.exec(log) ?? [];
    if (url) {
      router.stderr.resume();
      return { router, url };
    }
  }
  throw new Error(`the router does not listen:\n${log}`);
}

// --- vectors ---------------------------------------------------------------------------------------------------------

const ACTIONS = {
  sends: (peer, about, names) => peer.send(JSON.stringify(fillIn(about, names))),
  "sends lines": (peer, about, names) => peer.send(about.map((line) => JSON.stringify(fillIn(line, names))).join("\n")),
  "sends text": (peer, about) => peer.send(about),
  "sends pieces": (peer, about, names) =>
    peer.send(about.map((piece) => (isObject(piece) ? JSON.stringify(fillIn(piece, names)) : piece)).join("")),
  "sends text of bytes": (peer, about) => peer.send(Buffer.from(about, "hex"), { binary: false }),
  "sends binary": (peer, about) => peer.send(Buffer.from(about, "hex")),
  hears: async (peer, about, names) => compare(about, JSON.parse(await peer.next()), names),
  "hears text with": async (peer, about) => {
    const text = await peer.next();
    expect(text.includes(about), `${about} is not in ${text}`);
  },
  "hears nothing": (peer) => peer.hearsNothing(),
  closes: async (peer, about) => {
    peer.socket.close(about);
    await peer.until(() => peer.end);
  },
  vanishes: async (peer) => {
    peer.socket.terminate();
    await peer.until(() => peer.end);
  },
  "is closed": (peer, about) => peer.ends({ closeCode: about }),
  "is refused": (peer, about) => peer.ends({ status: about }),
};

async function play({ sessions, paths = {}, settings = {}, steps }, command) {
  const { router, url } = await startRouter(command, settings);
  const names = {};
  const peers = new Map();
  try {
    for (const [index, [who, what, about]] of steps.entries()) {
      try {
        if (!peers.has(who)) peers.set(who, await Peer.connect(new URL(paths[who] ?? "/", url), sessions[who]));
        await ACTIONS[what](peers.get(who), about, names);
      } catch (error) {
        throw error instanceof Mismatch ? new Mismatch(`step ${index + 1}: ${who} ${what}: ${error.message}`) : error;
      }
    }
    await Promise.all([...peers.values()].map((peer) => peer.hearsNothing()));
  } finally {
    for (const { socket } of peers.values()) socket.terminate();
    const ended = once(router, "exit");
    router.kill("SIGKILL");
    await ended;
  }
}

const split = process.argv.indexOf("--");
const files = process.argv.slice(2, split);
const command = process.argv.slice(split + 1);
if (split < 3 || !command.length) {
  console.error("node play.mjs FILE... -- PROGRAM ARGUMENT...");
  process.exit(2);
}
const counts = { hold: 0, "do not hold": 0, "left out": 0 };
for (const file of files) {
  for (const vector of JSON.parse(readFileSync(file, "utf8")).vectors) {
    if (Object.values(vector.sessions).flat().includes("resroute.v1.msgpack")) {
      counts["left out"] += 1;
      continue;
    }
    try {
      await play(vector, command);
      counts.hold += 1;
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      counts["do not hold"] += 1;
      console.log(`${basename(file)}: ${vector.name}: ${error.message}`);
    }
  }
}
console.log(Object.entries(counts).map(([what, count]) => `${count} ${what}`).join(", "));
process.exitCode = counts["do not hold"] ? 1 : 0;
