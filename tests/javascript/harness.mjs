// What the tests in Node.js need: routers as processes of their own, a piece of network that can break, a few waits.
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { HandlerBlocked, connect } from "../../resroute/admin/static/resroute.js";

export * from "../../resroute/admin/static/resroute.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// the tests are run once with each of them
const OPTIONS = process.env.RESROUTE_TEST_WEBSOCKET === "ws" ? { WebSocket } : {};

/** Whatever a test does not expect to be told ends it, but for what a busy machine may bring about. */
function onError(error) {
  if (!(error instanceof HandlerBlocked)) throw error;
}

/** Connect as a test does: quick to try again. */
export const open = (urls, options = {}) =>
  connect(urls, { ...OPTIONS, reconnect: { baseSeconds: 0.02, capSeconds: 0.2 }, onError, ...options });

export class Router {
  static async start({ port = 0, ...settings } = {}) {
    const router = new Router();
    const environment = Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [`RESROUTE_${name.toUpperCase()}`, String(value)]),
    );
    const command = ["-m", "resroute", "serve", `--port=${port}`, "--admin-port=0"];
    router.process = spawn(process.env.RESROUTE_TEST_PYTHON ?? "python3", command, {
      cwd: ROOT,
      env: { ...process.env, ...environment },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let log = "";
    router.process.stderr.setEncoding("utf8");
    await new Promise((resolve, reject) => {
      router.process.stderr.on("data", (text) => {
        log += text;
        const listens = /^resroute listens on (ws:\/\/\S+) /m.exec(log);
        if (listens) {
          router.url = listens[1];
          resolve();
        }
      });
      router.process.once("exit", (code) => reject(new Error(`the router ended with ${code}:\n${log}`)));
    });
    router.port = Number(new URL(router.url).port);
    return router;
  }

  get isRunning() {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** End it without a word, or with `SIGTERM` as it wishes. */
  async stop(signal = "SIGKILL") {
    if (!this.isRunning) return;
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    await ended;
  }
}

/** Forwards to a router until it breaks or falls silent. */
export class Network {
  #sockets = new Set();
  // connections that the router still believes in
  #stranded = new Set();
  #server;
  #isSilent = false;
  #pairs = new Map();
  connections = 0;

  static async open(port) {
    const network = new Network();
    network.#server = net.createServer((client) => {
      network.connections += 1;
      const router = net.connect(port, "127.0.0.1");
      for (const [from, to] of [[client, router], [router, client]]) {
        network.#sockets.add(from);
        from.on("data", (data) => network.#isSilent || to.write(data));
        from.on("error", () => {});
        from.on("close", () => {
          network.#sockets.delete(from);
          if (!network.#isSilent && !network.#stranded.has(to)) to.destroy();
        });
      }
      network.#pairs.set(client, router);
    });
    network.#server.listen(0, "127.0.0.1");
    await once(network.#server, "listening");
    network.url = `ws://127.0.0.1:${network.#server.address().port}/`;
    return network;
  }

  /** All connections break now; new ones work. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** All connections break now, and only the clients are told. */
  strand() {
    for (const [client, router] of this.#pairs) {
      this.#stranded.add(router);
      client.destroy();
    }
    this.#pairs.clear();
  }

  /** Nothing arrives any more, and nobody is told. */
  silence() {
    this.#isSilent = true;
  }

  /** New connections work again. */
  heal() {
    this.#isSilent = false;
    this.cut();
  }

  close() {
    this.#server.close();
    this.#stranded.clear();
    this.#isSilent = false;
    this.cut();
  }
}

/** The error that a promise rejects with. */
export async function failure(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`it did not fail: ${JSON.stringify(value)}`);
}

/** Wait until something is so. */
export async function until(isSo, what = isSo) {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const value = await isSo();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`it never came to be: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A promise and how to settle it. */
export function deferred() {
  let resolve, reject;
  const promise = new Promise((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
}

/** So many values of something that can be iterated, which goes on. */
export async function take(iterable, count) {
  const iterator = iterable[Symbol.asyncIterator]();
  const values = [];
  while (values.length < count) {
    const { done, value } = await iterator.next();
    if (done) throw new Error(`it ended after ${JSON.stringify(values)}`);
    values.push(value);
  }
  return values;
}
