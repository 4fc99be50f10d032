// Calls, partial results and notifications, from both sides, through a router.
import assert from "node:assert/strict";
import test, { after, afterEach, before, beforeEach } from "node:test";
import { ConnectionLost, RemoteError, Router, RouterError, StaleEpoch, TimedOut, deferred, failure, open, until } from "./harness.mjs";

let router, caller, owner, instance;
const seen = [];
const unexpected = [];

before(async () => {
  router = await Router.start({ anonymous_roles: "caller,instance,admin" });
});
after(() => router.stop());

const handlers = {
  add: ({ a, b }) => a + b,
  later: async ({ a, b }) => a + b,
  nothing: () => {},
  meta: (params, { resourceId, epoch, serviceName, caller, idempotencyKey, timeoutSeconds, isNotification }) =>
    ({ resourceId, epoch, serviceName, caller, idempotencyKey, timeoutSeconds, isNotification }),
  wait: (params, { signal }) => {
    seen.push("began");
    return new Promise((_, reject) => signal.addEventListener("abort", () => {
      seen.push(signal.reason.name);
      reject(signal.reason);
    }));
  },
  async *count({ to }) {
    for (let number = 1; number <= to; number++) yield number;
    return "done";
  },
  async *stand(params, { signal }) {
    try {
      yield "first";
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      yield "not heard";
    } finally {
      seen.push("closed");
    }
  },
  own: () => {
    throw new RemoteError(7, "no such page", { page: 9 });
  },
  bug: () => {
    throw new TypeError("a secret");
  },
  throwNothing: () => {
    throw undefined;
  },
  rejectNothing: () => Promise.reject(),
  unsayable: () => 1n,
  echo: (params) => params,
  symbol: () => Symbol("no result"),
  half: () => "half a pair: \ud83d",
  refuseHalf: () => {
    throw new RemoteError(1, "no", { "\udc00": 1 });
  },
  refuseWithText: () => {
    throw new RemoteError(/** @type {any} */ ("NOT_FOUND"), "no such page");
  },
  pose: () => {
    throw new RemoteError(409, "stale epoch", { type: "stale_epoch" });
  },
  stale: () => {
    throw new StaleEpoch();
  },
  large: () => "x".repeat(1_100_000),
  huge: () => "x".repeat(2_200_000),
  note: (params) => void seen.push(params),
  subscribe: async ({ pages }, call) => {
    for (let page = 1; page <= pages; page++) await call.notify("changed", { page });
    return "subscribed";
  },
};

beforeEach(async () => {
  seen.length = unexpected.length = 0;
  owner = await open(router.url, { onError: (error) => unexpected.push(error) });
  instance = await owner.registerInstance("store", handlers);
  await instance.register("doc:1");
  caller = await open(router.url);
});
afterEach(async () => {
  await Promise.all([owner.close(), caller.close()]);
});

const at = { resourceId: "doc:1" };

test("a call reaches the owner of a resource and brings back what it answers", async () => {
  assert.equal(await caller.call("add", { a: 2, b: 3 }, at), 5);
  assert.equal(await caller.call("later", { a: 2, b: 3 }, at), 5);
  assert.equal(await caller.call("nothing", undefined, at), null);
});

test("a call reaches an instance of a service", async () => {
  assert.equal(await caller.call("add", { a: 2, b: 3 }, { serviceName: "store" }), 5);
});

test("a handler is told what the router says of the call", async () => {
  const meta = await caller.call("meta", {}, { ...at, idempotencyKey: "k", timeoutSeconds: 5 });
  assert.equal(meta.resourceId, "doc:1");
  assert.equal(meta.epoch, instance.resources.get("doc:1"));
  assert.equal(meta.serviceName, "store");
  assert.deepEqual(meta.caller, { sessionId: caller.sessionId, subject: "anonymous" });
  assert.equal(meta.idempotencyKey, "k");
  assert.ok(meta.timeoutSeconds > 0 && meta.timeoutSeconds <= 5);
  assert.equal(meta.isNotification, false);
});

test("many calls at once are each answered", async () => {
  const answers = await Promise.all(Array.from({ length: 500 }, (_, a) => caller.call("add", { a, b: 1 }, at)));
  assert.deepEqual(answers, Array.from({ length: 500 }, (_, a) => a + 1));
});

test("an error of the router's is its own, with all it says", async () => {
  const error = await failure(caller.call("add", {}, { resourceId: "doc:9" }));
  assert.ok(error instanceof RouterError && error.is("resource_not_found"));
  assert.equal(error.code, 404);
  assert.equal(error.data.resource_id, "doc:9");
  assert.match(error.traceId, /^[\w-]+$/);
});

test("an error of the callee's is the callee's, even if it looks like the router's", async () => {
  const error = await failure(caller.call("own", {}, at));
  assert.ok(error instanceof RemoteError);
  assert.deepEqual([error.code, error.message, error.data], [7, "no such page", { page: 9 }]);
  assert.ok(await failure(caller.call("pose", {}, at)) instanceof RemoteError);
});

test("a name that somebody has made up costs its caller an error, and the instance nothing", async () => {
  for (const method of [`"${"'".repeat(900_000)}`, '"'.repeat(500_000)]) {
    const error = await failure(caller.call(method, {}, at));
    assert.ok(error instanceof RemoteError);
    assert.equal(error.code, -32601);
    assert.ok(error.message.length < 300, error.message.slice(0, 400));
    assert.equal(error.data.method, method.slice(0, 100));
  }
  assert.equal(await caller.call("add", { a: 1, b: 1 }, at), 2);
});

test("a method that is not there, or is everybody's, is no method", async () => {
  for (const method of ["subtract", "toString", "constructor", "__proto__"]) {
    const error = await failure(caller.call(method, {}, at));
    assert.ok(error instanceof RemoteError);
    assert.equal(error.code, -32601);
  }
});

test("what goes wrong inside a handler stays there", async () => {
  for (const method of ["bug", "throwNothing", "rejectNothing", "unsayable", "symbol", "half", "refuseHalf", "refuseWithText", "huge"]) {
    const error = await failure(caller.call(method, {}, at));
    assert.ok(error instanceof RemoteError);
    assert.deepEqual([error.code, error.message, error.data], [-32000, `Internal error in "${method}"`, undefined]);
    await until(() => unexpected.length === 1);
    unexpected.length = 0;
  }
  assert.equal(await caller.call("add", { a: 1, b: 1 }, at), 2);
});

test("an answer that is too large is said to be", async () => {
  const error = await failure(caller.call("large", {}, at));
  assert.ok(error.is("answer_too_large") && error.delivery === "unknown");
});

test("a request that is too large is not sent", async () => {
  assert.ok(await failure(caller.call("add", { text: "x".repeat(1_100_000) }, at)) instanceof RangeError);
  assert.ok(await failure(caller.call("add", { n: 1n }, at)) instanceof TypeError);
  assert.ok(await failure(caller.call("add", { text: "half a pair: \ud83d" }, at)) instanceof TypeError);
  assert.deepEqual(await caller.call("echo", { "\u{1f600}": "\\ud83d, \\\\ud83d" }, at), { "\u{1f600}": "\\ud83d, \\\\ud83d" });
  assert.equal(await caller.call("add", { a: 1, b: 1 }, at), 2);
});

test("what is called nowhere, or at no URL, is told as such", async () => {
  const nowhere = await failure(caller.call("add", { a: 1, b: 1 }, /** @type {any} */ (undefined)));
  assert.ok(nowhere instanceof RouterError && nowhere.code === -32602);
  for (const url of [undefined, null, 5, []]) {
    const error = await failure(open(/** @type {any} */ (url)));
    assert.ok(error instanceof TypeError && error.message === "connect needs a URL");
  }
});

test("no call is made in a time that is none", async () => {
  for (const timeoutSeconds of [NaN, "5", {}]) {
    const error = await failure(caller.call("add", { a: 1, b: 1 }, /** @type {any} */ ({ ...at, timeoutSeconds })));
    assert.ok(error instanceof TypeError && error.message.startsWith("timeoutSeconds is a number"));
  }
  for (const timeoutSeconds of [0, -1, -Infinity]) {
    const error = await failure(caller.call("add", { a: 1, b: 1 }, { ...at, timeoutSeconds }));
    assert.ok(error instanceof TimedOut && error.delivery === "not_delivered");
  }
});

test("a handler that refuses an epoch has not run", async () => {
  const error = await failure(caller.call("stale", {}, { ...at, retry: false }));
  assert.ok(error.is("unavailable") && error.data.reason === "moved" && error.delivery === "not_delivered");
});

test("an aborted call is cancelled at its callee", async () => {
  const controller = new AbortController();
  const call = caller.call("wait", {}, { ...at, signal: controller.signal });
  await until(() => seen.includes("began"));
  controller.abort(new Error("enough"));
  assert.equal((await failure(call)).message, "enough");
  await until(() => seen.includes("AbortError"));
  await until(() => instance.callsServing === 0);
  assert.deepEqual(unexpected, []);
});

test("a call with a signal that is aborted already is not made", async () => {
  assert.equal((await failure(caller.call("note", [1], { ...at, signal: AbortSignal.abort() }))).name, "AbortError");
  assert.equal(await caller.call("add", { a: 1, b: 1 }, at), 2);
  assert.deepEqual(seen, []);
});

test("the time of a call ends it at the router and at its callee", async () => {
  const error = await failure(caller.call("wait", {}, { ...at, timeoutSeconds: 0.2 }));
  assert.ok(error.is("call_timeout") && error.delivery === "unknown");
  await until(() => seen.length === 2);
  assert.ok(["AbortError", "TimeoutError"].includes(seen[1]));
});

test("partial results come in order, and then the result", async () => {
  const call = caller.call("count", { to: 100 }, { ...at, progress: true });
  const parts = [];
  for await (const part of call) parts.push(part);
  assert.deepEqual(parts, Array.from({ length: 100 }, (_, index) => index + 1));
  assert.equal(await call, "done");
});

test("who does not ask for parts gets the result of a generator alone", async () => {
  assert.equal(await caller.call("count", { to: 3 }, at), "done");
});

test("leaving the loop cancels the call and closes the generator", async () => {
  for await (const part of caller.call("stand", {}, { ...at, progress: true })) {
    assert.equal(part, "first");
    break;
  }
  await until(() => seen.includes("closed"));
  assert.deepEqual(unexpected, []);
});

test("an error ends the loop after the parts that came, and needs nobody else to take it", async () => {
  const parts = [];
  const call = caller.call("stand", {}, { ...at, progress: true, timeoutSeconds: 0.3 });
  const error = await failure((async () => {
    for await (const part of call) parts.push(part);
  })());
  assert.ok(error.is("call_timeout"));
  assert.deepEqual(parts, ["first"]);
  assert.equal(await call.catch(() => "caught").finally(() => parts.push("over")), "caught");
  assert.equal(await failure(call.finally(() => parts.push("over"))), error);
  assert.deepEqual(parts, ["first", "over", "over"]);
});

test("an owner pushes to those who called, and a listener that throws harms nobody", async () => {
  const told = [];
  const errors = [];
  const other = await open(router.url, { onError: (error) => errors.push(error.message) });
  const stop = other.onNotification(({ method, params, resourceId, instanceId }) => {
    told.push([method, params, resourceId, instanceId]);
    throw new Error("a listener of theirs");
  });
  assert.equal(await other.call("subscribe", { pages: 2 }, at), "subscribed");
  await until(() => told.length === 2);
  assert.deepEqual(told[1], ["changed", { page: 2 }, "doc:1", instance.instanceId]);
  assert.deepEqual(errors, ["a listener of theirs", "a listener of theirs"]);
  stop();
  await other.call("subscribe", { pages: 1 }, at);
  await other.ping();
  assert.equal(told.length, 2);
  await other.close();
});

test("a listener may be asynchronous, and what it rejects with is told", async () => {
  const fail = async ({ state }) => { throw new Error(`not ${state ?? "this"}`); };
  const client = await open(router.url, { onError: (error) => unexpected.push(error.message) });
  client.onNotification(fail);
  client.onState(fail);
  await client.call("subscribe", { pages: 1 }, at);
  const taking = await client.registerInstance("other", {});
  await taking.bulkRegister(["sum:1"], { onProgress: fail });
  await client.close();
  await until(() => unexpected.length === 3);
  assert.deepEqual(unexpected, ["not this", "not this", "not closed"]);
});

test("who looks after errors and fails at that harms nobody either", async () => {
  const raised = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.once("uncaughtException", (error) => raised.push(error.message));
  const other = await open(router.url, { onError: () => { throw new Error("it fails, too"); } });
  other.onNotification(() => { throw new Error("a listener of theirs"); });
  assert.equal(await other.call("subscribe", { pages: 1 }, at), "subscribed");
  await until(() => raised.length === 1);
  for (const listener of listeners) process.on("uncaughtException", listener);
  assert.deepEqual(raised, ["it fails, too"]);
  await other.ping();
  await other.close();
});

test("calls in flight fail when the client is closed, and nothing is asked of it any more", async () => {
  const call = failure(caller.call("wait", {}, at));
  await until(() => seen.includes("began"));
  await Promise.all([caller.close(), caller.close()]);
  assert.equal(caller.isConnected, false);
  const error = await call;
  assert.ok(error instanceof ConnectionLost && error.delivery === "unknown");
  assert.ok(await failure(caller.call("add", {}, at)) instanceof ConnectionLost);
  assert.ok(await failure(caller.ping()) instanceof ConnectionLost);
  assert.equal(await caller.closed, null);
  await until(() => seen.includes("ConnectionLost") || seen.includes("AbortError"));
});

test("a call that waits for an owner gets the one that comes", async () => {
  const call = caller.call("add", { a: 2, b: 2 }, { resourceId: "doc:2", waitForOwnerSeconds: 20 });
  await caller.ping();
  await instance.register("doc:2");
  assert.equal(await call, 4);
});

test("a call waits for a router that takes it, and is made again, within its time", async () => {
  const gate = deferred();
  const busy = await open(router.url);
  const worker = await busy.registerInstance("narrow", { hold: () => gate.promise, quick: () => "quick" }, { maxConcurrency: 1 });
  const held = caller.call("hold", {}, { serviceName: "narrow" });
  await until(() => worker.callsServing === 1);
  const second = caller.call("quick", {}, { serviceName: "narrow", timeoutSeconds: 20 });
  const third = await failure(caller.call("quick", {}, { serviceName: "narrow", retry: false }));
  assert.ok(third.is("unavailable") && third.data.reason === "overloaded");
  gate.resolve("held");
  assert.deepEqual(await Promise.all([held, second]), ["held", "quick"]);
  await busy.close();
});

test("one signal serves any number of calls", async () => {
  const warnings = [];
  process.on("warning", (warning) => warnings.push(warning.name));
  const { signal } = new AbortController();
  await Promise.all(Array.from({ length: 50 }, (_, a) => caller.call("add", { a, b: 1 }, { ...at, signal })));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(warnings, []);
});
