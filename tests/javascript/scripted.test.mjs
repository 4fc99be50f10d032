// What a client makes of routers that say and do what one cannot be made to.
import assert from "node:assert/strict";
import { once } from "node:events";
import test, { afterEach, beforeEach } from "node:test";
import { WebSocketServer } from "ws";
import { ConnectionFailed, ConnectionLost, FellBehind, RemoteError, ResrouteError, TimedOut, failure, open, until } from "./harness.mjs";

const INFO = { session_id: "session-1", limits: { max_message_bytes: 1000 }, features: [], heartbeat: { interval_seconds: 10, timeout_seconds: 25 } };

/** A router that answers as it is told to. */
class Scripted {
  connections = [];
  requests = [];
  notifications = [];

  /** @param answers by method: a result, a function of the message that returns one, or null to be silent */
  static async start(answers = {}, { subprotocol = "resroute.v1.ndjson", greet = () => {} } = {}) {
    const scripted = new Scripted();
    scripted.answers = { "session.info": INFO, "session.ping": {}, ...answers };
    const handleProtocols = (offered) => (scripted.offered = [...offered], subprotocol);
    scripted.server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols });
    await once(scripted.server, "listening");
    scripted.url = `ws://127.0.0.1:${scripted.server.address().port}/`;
    scripted.server.on("connection", (socket) => {
      scripted.connections.push(socket);
      socket.on("message", (data) => data.toString().split("\n").forEach((line) => scripted.#hear(socket, JSON.parse(line))));
      greet(socket);
    });
    return scripted;
  }

  #hear(socket, message) {
    if (message.id === undefined) return this.notifications.push(message);
    this.requests.push(message);
    const answer = this.answers[message.method];
    const result = typeof answer === "function" ? answer(message, socket) : answer;
    if (result === null) return;
    socket.send(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...(result?.error ? result : { result }) }));
  }

  say(message) {
    this.connections.at(-1).send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify({ jsonrpc: "2.0", ...message }));
  }

  close() {
    for (const socket of this.connections) socket.terminate();
    this.server.close();
  }
}

let routers, clients;
beforeEach(() => {
  [routers, clients] = [[], []];
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  routers.forEach((router) => router.close());
});
const scripted = async (...script) => (routers.push(await Scripted.start(...script)), routers.at(-1));
const connected = async (url, options) => (clients.push(await open(url, options)), clients.at(-1));

/** Wait until something does not grow any more: all that takes anything is full. */
async function stalled(count) {
  for (let before = -1; count() === 0 || count() !== before; ) {
    before = count();
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

const refusal = { code: 401, message: "A valid token is needed", data: { type: "unauthenticated", trace_id: "t" } };

test("a token goes along as a subprotocol, a fresh one each time if it is a function", async () => {
  let count = 0;
  const router = await scripted();
  const client = await connected(router.url, { token: async () => `token-${++count}` });
  assert.deepEqual(router.offered, ["resroute.v1.ndjson", "resroute.v1", "bearer.token-1"]);
  router.connections[0].terminate();
  await until(() => router.connections.length === 2 && client.isConnected);
  assert.equal(router.offered.at(-1), "bearer.token-2");
});

test("a token that no subprotocol can be goes in the first message", async () => {
  const router = await scripted({ "session.authenticate": { subject: "me", roles: [] } });
  await connected(router.url, { token: "a=/b" });
  assert.deepEqual(router.offered, ["resroute.v1.ndjson", "resroute.v1"]);
  assert.deepEqual(router.requests.map(({ method }) => method), ["session.authenticate", "session.info"]);
  assert.deepEqual(router.requests[0].params, { token: "a=/b" });
});

test("a token that is refused is said to be, at once", async () => {
  const router = await scripted({ "session.authenticate": { error: refusal, meta: { origin: "router" } } });
  const refused = await failure(open(router.url, { token: "a=/b" }));
  assert.ok(refused instanceof ConnectionFailed);
  assert.ok(refused.cause.is("unauthenticated"));
  const closing = await scripted({}, { greet: (socket) => socket.close(4001, "a valid token is needed") });
  const closed = await failure(open(closing.url, { token: "abc" }));
  assert.ok(closed instanceof ConnectionLost && closed.closeCode === 4001, closed);
  assert.equal(closing.connections.length, 1);
});

test("a token that has expired is replaced once, and then it is over", async () => {
  let tokens = 0;
  let good = true;
  const router = await scripted({}, { greet: (socket) => good || socket.close(4001, "expired") });
  const client = await connected(router.url, { token: () => `token-${++tokens}` });
  good = false;
  router.connections[0].close(4001, "expired");
  const error = await client.closed;
  assert.equal(error.closeCode, 4001);
  assert.equal(tokens, 2);
});

test("a token that is refused in a message is replaced once, and then it is over", async () => {
  for (const [token, attempts] of [["a=/b", 2], [() => "a=/b", 3]]) {
    const router = await scripted({ "session.authenticate": () => (router.connections.length === 1 ? {} : { error: refusal, meta: { origin: "router" } }) });
    const client = await connected(router.url, { token });
    router.connections[0].terminate();
    const error = await client.closed;
    assert.ok(error instanceof ConnectionFailed && error.cause.is("unauthenticated"));
    assert.equal(router.connections.length, attempts);
  }
});

test("a router that takes no session for now is left alone for as long as it says", async () => {
  const busy = { error: { code: 503, message: "later", data: { type: "unavailable", reason: "overloaded", retry_after_seconds: 0.3, trace_id: "t" } }, meta: { origin: "router" } };
  const router = await scripted({ "session.info": () => (router.connections.length === 2 ? busy : INFO) });
  const states = [];
  const client = await connected(router.url, { onState: (change) => states.push(change) });
  router.connections[0].terminate();
  await until(() => states.length === 4);
  assert.deepEqual(states.map(({ state }) => state), ["connected", "disconnected", "disconnected", "connected"]);
  assert.ok(states[1].retryInSeconds < 0.3 && states[2].retryInSeconds >= 0.3, JSON.stringify(states));
  assert.ok(client.isConnected);
});

test("who keeps trying waits for a router to be there, and for none that refuses it", async () => {
  let isThere = false;
  const router = await scripted({}, { greet: (socket) => isThere || socket.terminate() });
  const states = [];
  const controller = new AbortController();
  clients.push({ close: () => controller.abort() });
  const opening = open(router.url, { keepTrying: true, signal: controller.signal, onState: (change) => states.push(change) });
  await until(() => states.length === 3);
  isThere = true;
  assert.ok((await opening).isConnected);
  assert.equal(states.at(-1).state, "connected");
  const closing = await scripted({}, { greet: (socket) => socket.close(4001, "a valid token is needed") });
  const refused = await failure(open(closing.url, { keepTrying: true }));
  assert.ok(refused instanceof ConnectionLost && refused.closeCode === 4001, refused);
  isThere = false;
  const impatient = new AbortController();
  const aborted = failure(open(router.url, { keepTrying: true, signal: impatient.signal, onState: () => impatient.abort() }));
  assert.equal((await aborted).name, "AbortError");
});

test("a token that never comes, or cannot be had, is not waited for", async () => {
  const router = await scripted();
  const never = await failure(open(router.url, { token: () => new Promise(() => {}), connectTimeoutSeconds: 0.1 }));
  assert.ok(never instanceof ConnectionFailed);
  const failing = await failure(open(router.url, { token: () => { throw new TypeError("no token here"); } }));
  assert.ok(failing instanceof ConnectionFailed && failing.cause instanceof TypeError);
  assert.equal(router.connections.length, 0);
});

test("a token that fails because nobody wants it any more is no news", async () => {
  const router = await scripted();
  const leave = (controller) => async () => {
    controller.abort(new Error("signed out"));
    throw new Error("no token here");
  };
  const [early, late] = [new AbortController(), new AbortController()];
  assert.equal((await failure(open(router.url, { signal: early.signal, token: leave(early) }))).message, "signed out");
  const tokens = [() => "token", leave(late)];
  const client = await connected(router.url, { signal: late.signal, token: () => tokens.shift()() });
  router.connections.at(-1).terminate();
  assert.equal(await client.closed, null);
  await new Promise(setImmediate); // an unhandled rejection would be known by now, and end this module
});

test("what is no text is no token", async () => {
  const router = await scripted();
  for (const token of [5, null, {}, Symbol("token")]) {
    const given = await failure(open(router.url, /** @type {any} */ ({ token })));
    assert.ok(given instanceof TypeError && given.message.startsWith("a token is a string"));
    const got = await failure(open(router.url, /** @type {any} */ ({ token: () => token })));
    assert.ok(got instanceof ConnectionFailed && got.cause instanceof TypeError);
  }
  assert.equal(router.connections.length, 0);
});

test("a session that is about to expire is given a fresh token", async () => {
  let tokens = 0;
  const router = await scripted({ "session.authenticate": { subject: "me", roles: [] } });
  await connected(router.url, { token: () => `token-${++tokens}` });
  router.say({ method: "session.expiring", params: { expires_at: "2026-01-31T09:30:00Z" } });
  await until(() => router.requests.some(({ method }) => method === "session.authenticate"));
  assert.deepEqual(router.requests.at(-1).params, { token: "token-2" });
});

test("a router that closes says how long to stay away, and where to go instead", async () => {
  const other = await scripted();
  const router = await scripted();
  const states = [];
  const client = await connected(router.url);
  client.onState((change) => states.push(change));
  router.say({ method: "session.closing", params: { reason: "moving", reconnect_after_seconds: 0.3, url: other.url } });
  router.connections[0].close(1001, "moving");
  await until(() => states.length === 2);
  assert.ok(states[0].retryInSeconds >= 0.3 && states[0].retryInSeconds <= 0.32, states[0]);
  assert.equal(states[1].url, other.url);
  other.connections[0].terminate(); // which has said nothing of where to go
  await until(() => states.length === 4);
  assert.equal(states[3].url, router.url);
});

test("last words that make no sense keep nobody from coming back", async () => {
  for (const params of [undefined, 7, { url: null }, { url: 5 }, { url: "nowhere" }, { reconnect_after_seconds: "x" }, { reconnect_after_seconds: {}, url: "http://localhost/" }]) {
    const router = await scripted();
    const states = [];
    const client = await connected(router.url);
    client.onState((change) => states.push(change));
    router.say({ method: "session.closing", params });
    router.connections[0].close(1001, "moving");
    await until(() => states.length === 2);
    assert.ok(states[0].retryInSeconds >= 0 && states[0].retryInSeconds <= 0.02, JSON.stringify(params));
    assert.equal(states[1].url, router.url);
  }
});

test("what a router says of itself that makes no sense is not believed", async () => {
  const nonsense = [{ heartbeat: { interval_seconds: 0 } }, { heartbeat: { interval_seconds: "x" } }, { heartbeat: 5 }, { heartbeat: null },
    { limits: null }, { limits: [] }, { limits: { default_timeout_seconds: "x", max_message_bytes: {}, max_timeout_seconds: null } }, { features: 7 }];
  for (const info of nonsense) {
    const router = await scripted({ "session.info": { ...INFO, ...info }, "route.call": 7 });
    const client = await connected(router.url);
    assert.equal(await client.call("x", {}, { serviceName: "s" }), 7);
    assert.ok(Array.isArray(client.features));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(router.requests.map(({ method }) => method), ["session.info", "route.call"], JSON.stringify(info));
  }
});

test("a router with too many sessions is left alone for long", async () => {
  const router = await scripted();
  const states = [];
  const client = await connected(router.url, { reconnect: { baseSeconds: 1e-9, capSeconds: 1e9 } });
  client.onState((change) => states.push(change));
  router.connections[0].close(4029, "too many");
  await until(() => states.length);
  assert.ok(states[0].retryInSeconds > 1); // or it is one chance in a thousand million
  await client.close();
  assert.deepEqual(states.at(-1), { state: "closed", error: null });
});

test("attempts come further apart, and begin anew only after a session that lasted", async () => {
  const router = await scripted();
  const bounds = [];
  const client = await connected(router.url, { reconnect: { baseSeconds: 0.001, capSeconds: 0.05 } });
  client.onState(({ retryInSeconds }) => retryInSeconds !== undefined && bounds.push(retryInSeconds));
  for (let round = 1; round <= 12; round++) {
    router.connections.at(-1).terminate();
    await until(() => router.connections.length === round + 1 && client.isConnected);
  }
  bounds.forEach((seconds, attempt) => assert.ok(seconds <= Math.min(0.05, 0.001 * 2 ** attempt), `${attempt}: ${seconds}`));
});

test("a router that knows one message at a time is spoken to so", async () => {
  const router = await scripted({ "route.call": ({ params }) => params.params }, { subprotocol: "resroute.v1" });
  const texts = [];
  const client = await connected(router.url);
  router.connections[0].on("message", (data) => texts.push(data.toString()));
  const answers = await Promise.all([1, 2, 3].map((n) => client.call("echo", [n], { serviceName: "s" })));
  assert.deepEqual(answers, [[1], [2], [3]]);
  assert.equal(texts.length, 3);
});

test("what is no router is found out", async () => {
  const silent = await scripted({ "session.info": null });
  const error = await failure(open(silent.url, { connectTimeoutSeconds: 0.2 }));
  assert.ok(error instanceof ConnectionFailed && /does not answer as a router does/.test(error.message));
  const echo = await scripted({ "session.info": { hello: "world" } });
  assert.ok(await failure(open(echo.url)) instanceof ConnectionFailed);
  const older = await scripted({ "session.info": { error: { code: -32601, message: "no such method" } } });
  const refused = await failure(open(older.url));
  assert.ok(refused instanceof ConnectionFailed && refused.cause instanceof RemoteError);
});

test("what cannot be read is told to who looks after errors, and harms nobody", async () => {
  const router = await scripted({ "route.call": 7, "instance.register": { instance_id: "one" } });
  const errors = [];
  const client = await connected(router.url, { onError: (error) => errors.push(error.message) });
  await client.registerInstance("store", {});
  const bad = ["", "no JSON", "7", "null", "[]", '{"method":"resource.acquired"}', '{"method":"resource.lost"}'];
  const strange = ['{"jsonrpc":"2.0","id":99,"result":1}\n\n{}', '{"method":"$/progress"}', '{"method":"resource.events"}', '{"method":"session.unheard"}'];
  for (const text of [...bad, ...strange]) router.say(text);
  assert.equal(await client.call("x", {}, { serviceName: "s" }), 7);
  assert.deepEqual(errors.map((message) => message.replace(/^.*: /, "")), bad.filter((text) => text && text !== "7" && text !== "[]"));
});

test("a binary message ends the connection, for it would come again", async () => {
  const router = await scripted();
  const client = await connected(router.url);
  router.say(Buffer.from([1, 2, 3]));
  assert.equal((await client.closed).closeCode, 1003);
});

test("a call that asks who is no instance is answered", async () => {
  const router = await scripted();
  await connected(router.url);
  const heard = once(router.connections[0], "message");
  router.say({ id: 1, method: "read" });
  assert.equal(JSON.parse((await heard)[0].toString()).error.code, -32601);
});

test("a router that never answers a call is not waited for much longer than the call has time", async () => {
  const router = await scripted({ "route.call": null });
  const client = await connected(router.url);
  const error = await failure(client.call("x", {}, { serviceName: "s", timeoutSeconds: 0.05 }));
  assert.ok(error instanceof TimedOut && error.delivery === "unknown");
  await until(() => router.notifications.length === 1);
  assert.equal(router.notifications[0].method, "$/cancelRequest");
});

test("who takes no parts falls behind, and keeps those that came", async () => {
  const size = 20_000;
  const router = await scripted({
    "route.call": ({ id, meta }, socket) => {
      assert.deepEqual(meta, { progress: true });
      for (let n = 0; n < 300; n++) {
        socket.send(JSON.stringify({ jsonrpc: "2.0", method: "$/progress", params: { token: id, value: "x".repeat(size) } }));
      }
      return null;
    },
  });
  const client = await connected(router.url);
  const call = client.call("count", {}, { serviceName: "s", progress: true });
  assert.ok(await failure(call) instanceof FellBehind);
  await until(() => router.notifications.length === 1);
  assert.deepEqual(router.notifications[0].params, { id: router.requests.at(-1).id });
  const parts = [];
  const error = await failure((async () => {
    for await (const part of call) parts.push(part.length);
  })());
  assert.ok(error instanceof FellBehind);
  assert.ok(parts.every((length) => length === size));
  assert.ok(parts.length > 200 && parts.length <= Math.ceil((4 * 1024 * 1024) / size), parts.length);
});

test("malformed answers are errors of their own", async () => {
  const router = await scripted({ "route.call": ({ params }) => ({ error: params.params }) });
  const client = await connected(router.url);
  for (const error of [{ code: "x" }, { code: 1.5, message: 3 }, { code: 1, message: "m", data: null }]) {
    assert.ok(await failure(client.call("x", error, { serviceName: "s" })) instanceof RemoteError);
  }
});

test("answers that make no sense are errors of this module's", async () => {
  for (const nonsense of [5, {}, [], "text"]) {
    const router = await scripted({
      "resource.watch": nonsense, "resource.register": nonsense,
      "instance.register": () => (router.requests.length === 2 ? nonsense : { instance_id: "one" }),
    });
    const client = await connected(router.url);
    const isTyped = (error) => error.constructor === ResrouteError && error.cause instanceof TypeError;
    await assert.rejects(client.registerInstance("store", {}), isTyped);
    await assert.rejects(client.watch({}, { snapshot: true }), isTyped);
    const instance = await client.registerInstance("store", {});
    await assert.rejects(instance.register("doc:1"), isTyped);
    assert.equal(instance.resources.size, 0);
  }
});

test("the time of a call is at most what the router allows", async () => {
  const router = await scripted({ "session.info": { ...INFO, limits: { max_timeout_seconds: 600 } }, "route.call": ({ params }) => params.timeout_seconds });
  const client = await connected(router.url);
  assert.equal(await client.call("x", {}, { serviceName: "s", timeoutSeconds: Infinity }), 600);
  assert.equal(await client.call("x", {}, { serviceName: "s", timeoutSeconds: 601 }), 600);
  assert.ok(await client.call("x", {}, { serviceName: "s", timeoutSeconds: 5 }) <= 5);
});

test("options that would only go wrong later are refused at once", async () => {
  const router = await scripted();
  for (const options of [{ pingIntervalSeconds: 0 }, { pingIntervalSeconds: NaN }, { connectTimeoutSeconds: "5" }, { reconnect: { baseSeconds: -1 } }, { retry: { capSeconds: NaN } }, { onError: 5 }]) {
    await assert.rejects(open(router.url, /** @type {any} */ (options)), TypeError, JSON.stringify(options));
  }
  assert.equal(router.connections.length, 0);
  const client = await connected(router.url);
  for (const handlers of [undefined, null, 5]) await assert.rejects(client.registerInstance("store", /** @type {any} */ (handlers)), TypeError);
});

/** What an instance with such a handler answers to one call for partial results, which `then` may end, and what it tells. */
async function answered(handler, then = () => {}) {
  const [said, errors] = [[], []];
  const router = await scripted({ "instance.register": { instance_id: "one" } });
  const client = await connected(router.url, { onError: (error) => errors.push(error.message) });
  const instance = await client.registerInstance("store", { it: (params, call) => handler(call, client) });
  router.connections[0].on("message", (data) => data.toString().split("\n").forEach((line) => said.push(JSON.parse(line))));
  router.say({ id: 1, method: "it", meta: { progress: true, caller: { session_id: "s" } } });
  await until(() => said.length || errors.length || !client.isConnected);
  then(router);
  await until(() => instance.callsServing === 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  return { said, errors, client };
}

test("what is no partial result is the handler's mistake, and closes a generator", async () => {
  const closed = [];
  function* yielding(value) {
    try {
      yield value;
    } finally {
      closed.push(typeof value);
    }
  }
  for (const handler of [async (call) => call.progress(() => {}), () => yielding(Symbol("part")), () => yielding("x".repeat(2000))]) {
    const { said, errors } = await answered(handler);
    assert.deepEqual(said.map(({ id, error }) => [id, error.code]), [[1, -32000]]);
    assert.match(errors.join(), /^a (function|symbol) is no partial result$|^the partial result has/);
  }
  assert.deepEqual(closed, ["symbol", "string"]);
});

test("a handler that lets nothing else happen is told of, but not each time", async () => {
  const block = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  function* generator() {
    for (let part = 0; part < 2; part++) yield block();
  }
  for (const handler of [generator, block]) {
    const { errors } = await answered(handler);
    assert.equal(errors.length, 1);
    assert.match(errors[0], /^the handler of "it" has blocked everything else for \d+\.\d+ s$/);
  }
});

test("what a generator throws while it is closed is told to who looks after errors", async () => {
  const cancel = (router) => router.say({ method: "$/cancelRequest", params: { id: 1 } });
  async function* later(call) {
    try {
      yield 1;
      await new Promise((resolve) => call.signal.addEventListener("abort", resolve));
      yield 2;
    } finally {
      throw new Error("cannot be closed");
    }
  }
  assert.deepEqual((await answered(later, cancel)).errors, ["cannot be closed"]);
  function* atOnce() {
    try {
      for (;;) yield "x".repeat(100);
    } finally {
      throw new Error("cannot be closed");
    }
  }
  assert.deepEqual((await answered(atOnce, cancel)).errors, ["cannot be closed"]);
});

test("a generator may end its own call, and is closed for that", async () => {
  const seen = [];
  const { errors } = await answered(function* (call, client) {
    try {
      void client.close();
      for (;;) yield seen.push("went on");
    } finally {
      seen.push("closed");
    }
  });
  assert.deepEqual([seen, errors], [["went on", "closed"], []]);
});

for (const [what, end, reason] of [
  ["nobody wants any more", (router) => router.say({ method: "$/cancelRequest", params: { id: 1 } }), "AbortError"],
  ["cannot be sent any more", (router) => router.connections[0].terminate(), "ConnectionLost"],
]) {
  test(`who waits for room for a part of a result that ${what} goes on`, async () => {
    let [parts, stopped] = [0, ""];
    const router = await scripted({ "session.info": { ...INFO, limits: {} }, "instance.register": { instance_id: "one" } });
    const client = await connected(router.url);
    await client.registerInstance("store", {
      it: async (params, call) => {
        for (; !call.signal.aborted; parts++) await call.progress("x".repeat(100_000));
        stopped = call.signal.reason.name;
      },
    });
    router.connections[0].pause();
    router.say({ id: 1, method: "it", meta: { progress: true, caller: { session_id: "s" } } });
    await stalled(() => parts);
    end(router);
    await until(() => stopped);
    assert.equal(stopped, reason);
    router.connections[0].terminate();
  });
}

test("what is pushed is no call, and a call that nobody waits for is one", async () => {
  const router = await scripted({ "instance.register": { instance_id: "one" } });
  const client = await connected(router.url);
  const told = [];
  await client.registerInstance("store", { changed: (params, call) => told.push([call.isNotification, call.resourceId, params]) });
  client.onNotification(({ method, params }) => told.push([method, params]));
  router.say({ method: "changed", params: 1, meta: { resource_id: "doc:1", instance_id: "two" } });
  router.say({ method: "changed", params: 2, meta: { resource_id: "doc:1", epoch: 5, service_name: "store", caller: { session_id: "s" } } });
  router.say({ method: "unknown", params: 3, meta: { service_name: "store", caller: { session_id: "s" } } });
  router.say({ method: "resource.unheard", params: 4 });
  await client.ping();
  assert.deepEqual(told, [["changed", 1], [true, "doc:1", 2]]);
  assert.deepEqual(router.requests.map(({ method }) => method), ["session.info", "instance.register", "session.ping"]);
});

test("an instance resumes with the token that it was given, and registers only what did not come along", async () => {
  let sessions = 0;
  const asked = [];
  const router = await scripted({
    "instance.register": ({ params }) => {
      asked.push(params);
      sessions += 1;
      const resumed = sessions === 2 ? { "doc:1": 20 } : {};
      return { service_name: "store", instance_id: "store-1", session_id: "s", resume_token: `token-${sessions}`, resumed_count: 1, resumed, heartbeat: INFO.heartbeat, limits: {} };
    },
    "resource.register": ({ params }) => ({ success: true, registered: params.resource_ids, conflicts: {}, epochs: Object.fromEntries(params.resource_ids.map((id) => [id, 10])) }),
    "resource.bulk_register": ({ params }) => {
      asked.push(params);
      return { total_requested: 1, total_registered: 1, epochs: {}, complete: true, failed: [], rolled_back: false, batch_results: [{ batch_number: 1, success_count: 1, failure_count: 0, duration_ms: 1, epoch: 30 }] };
    },
  });
  const client = await connected(router.url);
  const changes = [];
  const instance = await client.registerInstance("store", {}, { resumeGraceSeconds: 30, onChange: (change) => changes.push(change) });
  await instance.register(["doc:1", "doc:2"]);
  instance.onChange(({ kind }) => kind === "disconnected" && assert.equal(instance.resources.size, 0));
  router.connections[0].terminate();
  await until(() => changes.length === 3);
  assert.equal(changes.shift().kind, "disconnected");
  assert.deepEqual(asked[0], { service_name: "store", resume_grace_seconds: 30 });
  assert.deepEqual(asked[1], { service_name: "store", resume_grace_seconds: 30, instance_id: "store-1", resume_token: "token-1" });
  assert.deepEqual(asked[2].resources, [{ resource_id: "doc:2" }]);
  assert.deepEqual(changes.map(({ resourceId, epoch, resumed }) => [resourceId, epoch, resumed]), [["doc:1", 20, true], ["doc:2", 30, false]]);
  router.connections[1].terminate();
  await until(() => asked.length >= 4);
  assert.equal(asked[3].resume_token, "token-2");
});

test("what a router that is about to stop takes no more is asked of the next one", async () => {
  const draining = { error: { code: 503, message: "no", data: { type: "unavailable", reason: "draining", trace_id: "t" } }, meta: { origin: "router" } };
  const asked = [];
  const refused = (method, result) => ({ params }) => {
    asked.push(method);
    return asked.filter((each) => each === method).length === 1 ? draining : result(params);
  };
  const router = await scripted({
    "instance.register": refused("instance.register", () => ({ service_name: "store", instance_id: "store-1", session_id: "s", resume_token: "t", resumed_count: 0, resumed: {}, heartbeat: INFO.heartbeat, limits: {} })),
    "resource.register": refused("resource.register", ({ resource_ids }) => ({ success: true, registered: resource_ids, conflicts: {}, epochs: { [resource_ids[0]]: 10 } })),
  });
  const client = await connected(router.url);
  const stop = () => router.say({ method: "session.closing", params: { reason: "shutdown", reconnect_after_seconds: 0 } });
  stop();
  const entering = client.registerInstance("store", {});
  await until(() => asked.length === 1);
  router.connections.at(-1).close(1001, "going");
  const instance = await entering;
  stop();
  const registering = instance.register("doc:1");
  await until(() => asked.includes("resource.register"));
  const impatient = new AbortController();
  asked.pop(); // so that the next one is refused, too
  const another = instance.register("doc:2", { signal: impatient.signal });
  await until(() => asked.includes("resource.register"));
  impatient.abort();
  await assert.rejects(another, { name: "AbortError" });
  router.connections.at(-1).close(1001, "going");
  assert.equal((await registering).success, true);
  assert.deepEqual([...instance.resources.keys()], ["doc:1"]);
  assert.equal(router.connections.length, 3);
});

test("what the router refuses for now is asked again when it says, whatever it is", async () => {
  const limited = { error: { code: 429, message: "slower", data: { type: "rate_limited", limit: 1, retry_after_seconds: 0.05, trace_id: "t" } }, meta: { origin: "router" } };
  const asked = [];
  const later = (result) => ({ method }) => {
    asked.push([method, performance.now()]);
    return asked.filter(([each]) => each === method).length === 1 ? limited : result;
  };
  const bulk = { total_requested: 1, complete: true, failed: [], rolled_back: false, batch_results: [{ epoch: 9 }], epochs: {} };
  const router = await scripted({
    "instance.register": later({ instance_id: "one" }),
    "resource.query": later({ resources: [] }),
    "resource.watch": later({ watch_id: "w", revision: 1 }),
    "resource.register": later({ success: true, registered: ["doc:1"], conflicts: {}, epochs: { "doc:1": 10 } }),
    "resource.bulk_register": later(bulk),
    "session.notify": later({ delivered_to_outbox: true }),
    "resource.release": later({ success: true, released: ["doc:1"], failed: {} }),
  });
  const client = await connected(router.url, { retry: { baseSeconds: 0.001 } });
  const instance = await client.registerInstance("store", {});
  await client.query();
  await client.watch();
  await instance.register("doc:1");
  await instance.bulkRegister(["doc:2"]);
  await instance.notify("session-2", "doc:1", "changed");
  await instance.release("doc:1");
  assert.deepEqual([...instance.resources], [["doc:2", 9]]);
  assert.equal(asked.length, 14);
  for (let n = 0; n < 14; n += 2) assert.ok(asked[n + 1][0] === asked[n][0] && asked[n + 1][1] - asked[n][1] >= 48, asked[n][0]);
});

test("nobody waits for a refusal to pass once the client is closed, nor when it is to take long", async () => {
  const refusing = (retry_after_seconds) => ({ error: { code: 503, message: "no", data: { type: "unavailable", reason: "overloaded", retry_after_seconds, trace_id: "t" } }, meta: { origin: "router" } });
  const router = await scripted({ "route.call": refusing(20), "session.ping": refusing(20), "resource.query": refusing(31), "router.statistics": {} });
  const client = await connected(router.url);
  await assert.rejects(client.query(), (error) => error.is("unavailable"));
  const waiting = [failure(client.call("x", {}, { serviceName: "s" })), failure(client.ping())];
  const controller = new AbortController();
  const given = failure(client.ping({ signal: controller.signal }));
  await until(() => router.requests.length === 5);
  await client.request("router.statistics"); // by now all have been refused
  controller.abort();
  assert.equal((await given).name, "AbortError");
  await client.close();
  for (const error of await Promise.all(waiting)) assert.ok(error.is("unavailable"));
});

/** A router that answers late, and what it was asked besides meanwhile. */
async function late(method, act) {
  const router = await scripted({
    "instance.register": { instance_id: "one" },
    "resource.release": ({ params }) => ({ success: true, released: params.resource_ids, failed: {} }),
    "resource.unwatch": {},
  });
  const client = await connected(router.url);
  const instance = await client.registerInstance("store", { read: () => "read" });
  router.answers["resource.register"] = { success: true, registered: ["doc:1"], conflicts: {}, epochs: { "doc:1": 10 } };
  await instance.register("doc:1");
  router.answers[method] = null;
  const { length } = router.requests;
  const controller = new AbortController();
  const given = failure(act(instance, client, controller.signal));
  await until(() => router.requests.length > length);
  const { id } = router.requests.at(-1);
  controller.abort();
  await given;
  await until(() => router.notifications.length === 1);
  return { router, client, instance, answer: (result) => router.say({ id, result }) };
}

test("what is granted to somebody who has given up is given back, though calls were quicker", async () => {
  for (const [method, act, result] of [
    ["resource.register", (instance, client, signal) => instance.register(["doc:1", "doc:2"], { signal }), { success: true, registered: ["doc:1", "doc:2"], epochs: { "doc:1": 10, "doc:2": 20 } }],
    ["resource.bulk_register", (instance, client, signal) => instance.bulkRegister(["doc:1", "doc:2"], { signal }), { complete: true, epochs: { "doc:1": 10 }, batch_results: [{ epoch: 20 }] }],
  ]) {
    const { router, instance, answer } = await late(method, act);
    router.say({ id: 1, method: "read", meta: { resource_id: "doc:2", epoch: 20 } });
    await until(() => instance.resources.size === 2);
    answer(result);
    await until(() => router.requests.at(-1).method === "resource.release");
    assert.deepEqual(router.requests.at(-1).params, { resource_ids: ["doc:2"], partial: true });
    await until(() => instance.resources.size === 1);
    assert.deepEqual([...instance.resources], [["doc:1", 10]]);
  }
});

test("what is granted to somebody who has given up is not given back while somebody else asks for it", async () => {
  const { router, client, instance, answer } = await late("resource.register", (instance, client, signal) => instance.register("doc:2", { signal }));
  const again = instance.register("doc:2");
  await until(() => router.requests.filter(({ method }) => method === "resource.register").length === 3);
  const { id } = router.requests.at(-1);
  const granted = { success: true, registered: ["doc:2"], conflicts: {}, epochs: { "doc:2": 20 } };
  answer(granted);
  router.say({ id, result: granted });
  assert.deepEqual((await again).epochs, { "doc:2": 20 });
  await client.ping();
  assert.ok(!router.requests.some(({ method }) => method === "resource.release"));
  assert.deepEqual([...instance.resources], [["doc:1", 10], ["doc:2", 20]]);
});

test("what a bulk has released and is registered again before its answer comes stays registered", async () => {
  const granted = (epoch) => ({ success: true, registered: ["doc:1"], conflicts: {}, epochs: { "doc:1": epoch } });
  const router = await scripted({ "instance.register": { instance_id: "one" }, "resource.register": granted(10), "resource.bulk_release": null });
  const client = await connected(router.url);
  const instance = await client.registerInstance("store", {});
  await instance.register("doc:1");
  const releasing = instance.bulkRelease(["doc:1"]);
  await until(() => router.requests.at(-1).method === "resource.bulk_release");
  const { id } = router.requests.at(-1);
  router.answers["resource.register"] = granted(20);
  await instance.register("doc:1");
  router.say({ id, result: { total_requested: 1, complete: true } });
  await releasing;
  assert.deepEqual([...instance.resources], [["doc:1", 20]]);
});

test("what is released for somebody who has given up is owned no more", async () => {
  for (const [method, act, result] of [
    ["resource.release", (instance, client, signal) => instance.release("doc:1", { signal }), { success: true, released: ["doc:1"], failed: {} }],
    ["resource.bulk_release", (instance, client, signal) => instance.bulkRelease(["doc:1"], { signal }), { complete: true }],
  ]) {
    const { instance, answer } = await late(method, act);
    assert.equal(instance.resources.size, 1);
    answer(result);
    await until(() => instance.resources.size === 0);
  }
});

test("an instance that was given up is none, and one may register again", async () => {
  const router = await scripted({ "instance.register": null });
  const client = await connected(router.url);
  const controller = new AbortController();
  const given = failure(client.registerInstance("store", {}, { signal: controller.signal }));
  await until(() => router.requests.length === 2);
  controller.abort();
  await given;
  const again = client.registerInstance("store", {});
  await until(() => router.requests.length === 3);
  router.answers["instance.register"] = { instance_id: "store-2" };
  router.say({ id: router.requests[1].id, result: { instance_id: "store-1" } });
  assert.equal((await again).instanceId, "store-2");
  assert.equal(router.connections.length, 2);
});

test("a watch that was given up is ended when it begins", async () => {
  const { router, answer } = await late("resource.watch", (instance, client, signal) => client.watch({}, { signal }));
  answer({ watch_id: "watch-9", revision: 1 });
  await until(() => router.requests.at(-1).method === "resource.unwatch");
  assert.deepEqual(router.requests.at(-1).params, { watch_id: "watch-9" });
});

test("what came along and nobody knows of is given back", async () => {
  const router = await scripted({
    "instance.register": () => ({ instance_id: "one", resume_token: "t", resumed: router.connections.length === 2 ? { "doc:1": 20, "doc:2": 20 } : {} }),
    "resource.register": { success: true, registered: ["doc:1"], conflicts: {}, epochs: { "doc:1": 10 } },
    "resource.release": ({ params }) => ({ success: true, released: params.resource_ids, failed: {} }),
  });
  const client = await connected(router.url);
  const changes = [];
  const instance = await client.registerInstance("store", {}, { onChange: (change) => changes.push(change) });
  await instance.register("doc:1");
  router.connections[0].terminate();
  await until(() => changes.length === 2);
  assert.deepEqual(router.requests.at(-1).params, { resource_ids: ["doc:2"], partial: true });
  await client.ping();
  assert.deepEqual([...instance.resources], [["doc:1", 20]]);
  assert.deepEqual(changes.map(({ kind, resourceId }) => [kind, resourceId]), [["disconnected", undefined], ["regained", "doc:1"]]);
});

test("what came along while its release was under way is released, and no news", async () => {
  const router = await scripted({
    "instance.register": () => ({ instance_id: "one", resume_token: "t", resumed: router.connections.length === 2 ? { "doc:1": 20, "doc:2": 20 } : {} }),
    "resource.register": { success: true, registered: ["doc:1", "doc:2"], conflicts: {}, epochs: { "doc:1": 10, "doc:2": 10 } },
    "resource.release": ({ params }) => (router.connections.length === 1 ? null : { success: true, released: params.resource_ids, failed: {} }),
  });
  const client = await connected(router.url);
  const changes = [];
  const instance = await client.registerInstance("store", {}, { onChange: (change) => changes.push(change) });
  await instance.register(["doc:1", "doc:2"]);
  const released = instance.release("doc:1");
  await until(() => router.requests.at(-1).method === "resource.release");
  router.connections[0].terminate();
  assert.deepEqual((await released).released, ["doc:1"]);
  assert.deepEqual([...instance.resources], [["doc:2", 20]]);
  assert.deepEqual(changes.map(({ kind, resourceId }) => [kind, resourceId]), [["disconnected", undefined], ["regained", "doc:2"]]);
});

test("of very many resources that came along each is told so", async () => {
  const router = await scripted({
    "instance.register": () => ({ instance_id: "one", resume_token: "t", resumed: router.connections.length === 2 ? { "doc:1": 20 } : {} }),
    "resource.register": { success: true, registered: ["doc:1", "doc:2", "doc:3"], conflicts: {}, epochs: { "doc:1": 10, "doc:2": 10, "doc:3": 10 } },
    "resource.bulk_register": { total_requested: 2, complete: true, failed: [], epochs: { "doc:2": 20, "doc:3": 30 }, batch_results: [] },
  });
  const client = await connected(router.url);
  const changes = [];
  const instance = await client.registerInstance("store", {}, { onChange: (change) => changes.push(change) });
  await instance.register(["doc:1", "doc:2", "doc:3"]);
  router.connections[0].terminate();
  await until(() => changes.length === 4);
  assert.deepEqual(changes.slice(1).map(({ resourceId, resumed }) => [resourceId, resumed]), [["doc:1", true], ["doc:2", true], ["doc:3", false]]);
});

test("where nobody is about to stop, a refusal is a refusal", async () => {
  const draining = { error: { code: 503, message: "no", data: { type: "unavailable", reason: "draining", trace_id: "t" } }, meta: { origin: "router" } };
  const router = await scripted({ "instance.register": draining });
  const client = await connected(router.url);
  await assert.rejects(client.registerInstance("store", {}), (error) => error.is("unavailable"));
});

test("an instance that is refused for good is told, and so is whoever asks it anything", async () => {
  let sessions = 0;
  const forbidden = { error: { code: 403, message: "no", data: { type: "forbidden", required: "instance", trace_id: "t" } }, meta: { origin: "router" } };
  const router = await scripted({ "instance.register": () => (++sessions === 1 ? { instance_id: "one" } : forbidden) });
  const client = await connected(router.url);
  const changes = [];
  const instance = await client.registerInstance("store", {}, { onChange: (change) => changes.push(change) });
  router.connections[0].terminate();
  await until(() => changes.length === 2);
  assert.deepEqual(changes.map(({ kind }) => kind), ["disconnected", "ended"]);
  assert.ok((await failure(instance.register("doc:1"))).is("forbidden"));
  await client.ping();
});

const events = (watch_id, revision, ids, { index = 0, count = 1, event = "registered" } = {}) => ({
  method: "resource.events",
  params: { watch_id, revision, index, count, events: ids.map((id) => ({ event, cause: "request", resource: { resource_id: id } })) },
});

test("of a revision of which a part had come the rest is told, however it is divided the next time", async () => {
  const asked = [];
  const router = await scripted({ "resource.watch": ({ params }) => (asked.push(params), { watch_id: `watch-${asked.length}`, revision: 10 }) });
  const client = await connected(router.url);
  const watch = await client.watch({ prefix: "d" });
  const told = [];
  const reading = (async () => {
    for await (const { revision, resource } of watch) {
      told.push(`${revision} ${resource.resource_id}`);
      if (resource.resource_id === "end") return;
    }
  })();
  router.say(events("watch-1", 11, ["a"]));
  router.say(events("watch-1", 12, ["b", "c", "d"], { index: 0, count: 2 }));
  await until(() => told.length === 4);
  assert.equal(watch.revision, 11); // all of it, that is
  router.connections[0].terminate();
  await until(() => asked.length === 2);
  router.say(events("watch-2", 12, ["b", "c"], { index: 0, count: 3 }));
  router.say(events("watch-2", 12, ["d", "e"], { index: 1, count: 3 }));
  await until(() => told.length === 5);
  router.connections[1].terminate();
  await until(() => asked.length === 3);
  router.say(events("watch-3", 12, ["b", "c", "d", "e", "f"], { index: 0, count: 1 }));
  router.say(events("watch-3", 13, ["b", "end"]));
  await reading;
  assert.deepEqual(told, ["11 a", "12 b", "12 c", "12 d", "12 e", "12 f", "13 b", "13 end"]);
  assert.deepEqual(asked, [{ prefix: "d" }, { prefix: "d", from_revision: 11 }, { prefix: "d", from_revision: 11 }]);
});

test("what a page of a snapshot has already is not told again", async () => {
  const router = await scripted({
    "resource.watch": { watch_id: "watch-1", revision: 10, resources: [{ resource_id: "a" }, { resource_id: "c" }], next_cursor: "next" },
    "resource.query": { resources: [{ resource_id: "f" }], revision: 15 },
  });
  const client = await connected(router.url);
  const watch = await client.watch({ prefix: "" }, { snapshot: true });
  assert.deepEqual(watch.snapshot.map(({ resource_id }) => resource_id), ["a", "c", "f"]);
  router.say(events("watch-1", 11, ["b"])); // within the first page, which is older
  router.say(events("watch-1", 12, ["c", "d", "f"])); // of these only the first
  router.say(events("watch-1", 15, ["z"], { event: "released" })); // beyond the last page, which says that it is not there
  router.say(events("watch-1", 16, ["d", "z"])); // younger than all pages
  router.say(events("watch-1", 17, ["end"]));
  const told = [];
  for await (const { revision, resource } of watch) {
    if (resource.resource_id === "end") break;
    told.push(`${revision} ${resource.resource_id}`);
  }
  assert.deepEqual(told, ["11 b", "12 c", "16 d", "16 z"]);
});

test("a call under a grant that is over does not run, and one under a later grant does", async () => {
  const answers = [];
  const router = await scripted({
    "instance.register": { instance_id: "one" },
    "resource.register": { success: true, registered: ["doc:1"], conflicts: {}, epochs: { "doc:1": 10 } },
  });
  const client = await connected(router.url);
  const instance = await client.registerInstance("store", { read: (params, { epoch }) => epoch });
  await instance.register("doc:1");
  router.connections[0].on("message", (data) => answers.push(...data.toString().split("\n").map(JSON.parse)));
  const call = (id, epoch) => router.say({ id, method: "read", meta: { resource_id: "doc:1", epoch } });
  call(1, 9);
  call(2, 10);
  call(3, 12);
  call(4, 10);
  router.say({ method: "resource.lost", params: { resource_ids: ["doc:1"], cause: "forced" } });
  call(5, 12);
  call(6, 13);
  await until(() => answers.length === 6);
  assert.deepEqual(answers.map(({ id, result, error }) => [id, result ?? error.data.type]), [
    [1, "stale_epoch"], [2, 10], [3, 12], [4, "stale_epoch"], [5, "stale_epoch"], [6, 13],
  ]);
});

test("who sends faster than the network takes waits, and all of it arrives in order", async () => {
  const router = await scripted({ "route.call": ({ params }) => params.params[0], "session.info": { ...INFO, limits: {} } });
  const client = await connected(router.url);
  const padding = "x".repeat(50_000);
  router.connections[0].pause();
  const calls = Array.from({ length: 400 }, (_, n) => client.call("echo", [n, padding], { serviceName: "s", timeoutSeconds: 60 }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  router.connections[0].resume();
  assert.deepEqual(await Promise.all(calls), Array.from({ length: 400 }, (_, n) => n));
  assert.deepEqual(router.requests.filter(({ method }) => method === "route.call").map(({ params }) => params.params[0]), Array.from({ length: 400 }, (_, n) => n));
});

test("the time of a call counts while it waits to be sent", async () => {
  const router = await scripted({ "route.call": ({ params }) => params.timeout_seconds, "session.info": { ...INFO, limits: {} } });
  const client = await connected(router.url);
  router.connections[0].pause();
  const padding = "x".repeat(500_000);
  const calls = Array.from({ length: 40 }, (_, n) => client.call("echo", [n, padding], { serviceName: "s", timeoutSeconds: 60 }));
  const error = await failure(client.call("echo", [], { serviceName: "s", timeoutSeconds: 0.1 }));
  assert.ok(error instanceof TimedOut && error.delivery === "not_delivered" && router.connections.length === 1);
  const late = client.call("echo", [], { serviceName: "s", timeoutSeconds: 60 });
  await new Promise((resolve) => setTimeout(resolve, 300));
  router.connections[0].resume();
  await Promise.all(calls);
  assert.ok(await late <= 59.7, "what is left is what the router is told");
});

test("a call that is taken back in the same breath is not sent", async () => {
  const router = await scripted({ "route.call": 7 });
  const client = await connected(router.url);
  const controller = new AbortController();
  const taken = failure(client.call("x", {}, { serviceName: "s", signal: controller.signal }));
  controller.abort();
  assert.equal((await taken).name, "AbortError");
  assert.equal(await client.call("x", {}, { serviceName: "s" }), 7);
  assert.deepEqual(router.requests.map(({ method }) => method), ["session.info", "route.call"]);
  assert.deepEqual(router.notifications, []);
});

test("what else is asked waits to be sent, too, and may be given up meanwhile", async () => {
  const router = await scripted({ "route.call": 7, "session.info": { ...INFO, limits: {} } });
  const client = await connected(router.url);
  router.connections[0].pause();
  const padding = "x".repeat(500_000);
  const calls = Array.from({ length: 40 }, () => client.call("x", [padding], { serviceName: "s", timeoutSeconds: 60 }));
  const controller = new AbortController();
  const given = failure(client.ping({ signal: controller.signal }));
  const ping = client.ping();
  await new Promise((resolve) => setTimeout(resolve, 50));
  controller.abort();
  assert.equal((await given).name, "AbortError");
  router.connections[0].resume();
  await Promise.all([...calls, ping]);
  assert.equal(router.requests.filter(({ method }) => method === "session.ping").length, 1);
});

test("a watch that the router gives up goes on where it was", async () => {
  const asked = [];
  const router = await scripted({ "resource.watch": ({ params }) => (asked.push(params), { watch_id: `watch-${asked.length}`, revision: 10 }) });
  const client = await connected(router.url);
  const watch = await client.watch();
  const iterator = watch[Symbol.asyncIterator]();
  router.say(events("watch-1", 11, ["a"]));
  router.say({ method: "resource.watch_lost", params: { watch_id: "watch-1", reason: "slow" } });
  assert.equal((await iterator.next()).value.revision, 11);
  const next = iterator.next();
  await until(() => asked.length === 2);
  assert.deepEqual(asked[1], { from_revision: 11 });
  router.say(events("watch-2", 12, ["b"]));
  assert.equal((await next).value.revision, 12);
});

test("of ten thousand grants that have ended it is known that they have", async () => {
  const ids = Array.from({ length: 10_001 }, (_, number) => `doc:${number}`);
  const said = [];
  const router = await scripted({
    "session.info": { ...INFO, limits: {} }, "instance.register": { instance_id: "one" },
    "resource.bulk_register": { complete: true, epochs: Object.fromEntries(ids.map((id) => [id, 5])), batch_results: [] },
  });
  const client = await connected(router.url);
  const instance = await client.registerInstance("store", { read: () => "read" });
  await instance.bulkRegister(ids);
  router.connections[0].on("message", (data) => said.push(...data.toString().split("\n").map((line) => JSON.parse(line))));
  router.say({ method: "resource.lost", params: { resource_ids: ids, cause: "forced" } });
  ids.slice(0, 2).forEach((resource_id, id) => router.say({ id, method: "read", meta: { resource_id, epoch: 5 } }));
  await until(() => said.length === 2);
  assert.deepEqual(said.map(({ result, error }) => result ?? error.data.type), ["read", "stale_epoch"]);
});

test("who has called a service, and no resource, cannot be told anything later", async () => {
  const { errors } = await answered((call) => call.notify("changed"));
  assert.deepEqual(errors, ["only who has called a resource can be notified"]);
});

test("a router that goes at once has not been connected to", async () => {
  const router = await scripted({ "session.info": (message, socket) => (socket.close(1001, "going"), null) });
  const error = await failure(open(router.url));
  assert.ok(error instanceof ConnectionFailed && error.cause instanceof ConnectionLost, error);
});

test("where timers are slow, as in the background, answers are reason enough to go on sending", { timeout: 20_000 }, async () => {
  const router = await scripted({ "route.call": ({ params }) => params.params[0], "session.info": { ...INFO, limits: {} } });
  const client = await connected(router.url);
  const quick = globalThis.setTimeout;
  globalThis.setTimeout = /** @type {any} */ ((act, milliseconds) => quick(act, Math.max(60_000, milliseconds)));
  try {
    const padding = "x".repeat(50_000);
    const calls = Array.from({ length: 100 }, (_, n) => client.call("echo", [n, padding], { serviceName: "s", timeoutSeconds: 60 }));
    assert.deepEqual(await Promise.all(calls), Array.from({ length: 100 }, (_, n) => n));
  } finally {
    globalThis.setTimeout = quick;
  }
});

test("a call that waits to be sent is taken back, and nobody hears of it", async () => {
  const router = await scripted({ "route.call": ({ params }) => params.params[0], "session.info": { ...INFO, limits: {} } });
  const client = await connected(router.url);
  router.connections[0].pause();
  const padding = "x".repeat(500_000);
  const calls = Array.from({ length: 40 }, (_, n) => client.call("echo", [n, padding], { serviceName: "s", timeoutSeconds: 60 }));
  const controller = new AbortController();
  const taken = failure(client.call("echo", [-1], { serviceName: "s", signal: controller.signal }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  controller.abort();
  assert.equal((await taken).name, "AbortError");
  router.connections[0].resume();
  await Promise.all(calls);
  assert.ok(!router.requests.some(({ params }) => params?.params?.[0] === -1));
  assert.deepEqual(router.notifications, []);
});
