// What becomes of a client when its connection breaks, its router dies, or its network falls silent.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import test, { after, afterEach, beforeEach } from "node:test";
import ws from "ws";
import { ConnectionFailed, ConnectionLost, Network, Router, deferred, failure, open, take, until } from "./harness.mjs";

let router, network;
let clients, routers, networks;

const start = async (settings) => (routers.push(await Router.start(settings)), routers.at(-1));
const connected = async (url, options) => (clients.push(await open(url, options)), clients.at(-1));
const between = async (port) => (networks.push(await Network.open(port)), networks.at(-1));

beforeEach(async () => {
  [clients, routers, networks] = [[], [], []];
  if (!router?.isRunning) router = await Router.start(); // some tests end it
  network = await between(router.port);
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  networks.forEach((each) => each.close());
  await Promise.all(routers.map((each) => each.stop()));
});
after(() => router.stop());

/** An instance that owns things, and what becomes of those. */
async function owner(url, instanceId, resourceIds, handlers = { who: () => instanceId }, options = {}) {
  const client = await connected(url, options);
  const changes = [];
  const instance = await client.registerInstance("store", handlers, { instanceId, onChange: (change) => change.kind === "disconnected" || changes.push(change) });
  if (resourceIds.length) await instance.register(resourceIds);
  return { client, instance, changes };
}

test("a client whose connection breaks connects again, and says so", async () => {
  const states = [];
  const client = await connected(network.url);
  client.onState((change) => states.push(change));
  const { sessionId } = client;
  network.cut();
  await until(() => states.at(-1)?.state === "connected");
  assert.equal(states[0].state, "disconnected");
  assert.ok(states[0].error instanceof ConnectionLost && states[0].error.closeCode === 1006);
  assert.ok(states[0].retryInSeconds >= 0 && states[0].retryInSeconds <= 0.02);
  assert.notEqual(client.sessionId, sessionId);
  await client.ping();
});

test("calls in flight end with what is known of them, and are made again if they may run twice", async () => {
  const gates = [];
  const runs = [];
  const handlers = {
    hold: (params, { idempotencyKey, signal }) => {
      runs.push([params.name, idempotencyKey, signal]);
      gates.push(deferred());
      return gates.at(-1).promise;
    },
  };
  const { instance } = await owner(router.url, "one", ["doc:1"], handlers);
  const client = await connected(network.url);
  const at = { resourceId: "doc:1", timeoutSeconds: 20 };
  const once = failure(client.call("hold", { name: "once" }, at));
  const again = client.call("hold", { name: "again" }, { ...at, idempotent: true });
  const parts = client.call("hold", { name: "parts" }, { ...at, progress: true });
  const iterating = failure(take(parts, 1));
  await until(() => instance.callsServing === 3);
  network.cut();
  const error = await once;
  assert.ok(error instanceof ConnectionLost && error.delivery === "unknown");
  assert.ok(await iterating instanceof ConnectionLost);
  await until(() => runs.length === 4 && instance.callsServing === 1);
  assert.deepEqual(runs.slice(0, 3).map(([, , signal]) => signal.aborted), [true, true, true]);
  gates.at(-1).resolve("at last");
  assert.equal(await again, "at last");
  const [first, second] = runs.filter(([name]) => name === "again");
  assert.equal(first[1], second[1]);
  assert.match(first[1], /^[0-9a-f]{32}$/);
});

test("a call that is made without a connection waits for one, as long as it has time", async () => {
  await owner(router.url, "one", ["doc:1"]);
  const client = await connected(network.url, { reconnect: { baseSeconds: 0.5, capSeconds: 1 } });
  const states = [];
  client.onState(({ state }) => states.push(state));
  network.close();
  await until(() => states.includes("disconnected"));
  const error = await failure(client.call("who", {}, { resourceId: "doc:1", timeoutSeconds: 0.1 }));
  assert.equal(error.delivery, "not_delivered");
  const controller = new AbortController();
  const aborted = failure(client.call("who", {}, { resourceId: "doc:1", signal: controller.signal }));
  controller.abort(new Error("enough"));
  assert.equal((await aborted).message, "enough");
});

test("a call that was made without a connection is answered over the next one", async () => {
  await owner(router.url, "one", ["doc:1"]);
  const client = await connected(network.url);
  // the next connection may be there before anybody has looked twice
  const answer = new Promise((resolve) => {
    client.onState(({ state }) => state === "disconnected" && resolve(client.call("who", {}, { resourceId: "doc:1" })));
  });
  network.cut();
  assert.equal(await answer, "one");
});

test("an instance registers again, with what it owned and said of it, and is told the new epochs", async () => {
  const { client, instance, changes } = await owner(network.url, "one", []);
  await instance.register(["doc:1", "doc:2"], { metadata: { "doc:1": { tags: ["draft"] } } });
  await instance.update("doc:1", { attributes: { pages: 3 } }, { merge: true });
  await instance.register("doc:gone");
  await instance.release("doc:gone");
  const before = instance.resources;
  network.cut();
  await until(() => changes.length === 2);
  assert.deepEqual(changes.map(({ kind, resourceId, resumed }) => [kind, resourceId, resumed]), [["regained", "doc:1", false], ["regained", "doc:2", false]]);
  for (const { resourceId, epoch, previousEpoch } of changes) {
    assert.equal(previousEpoch, before.get(resourceId));
    assert.ok(epoch > previousEpoch);
    assert.equal(instance.resources.get(resourceId), epoch);
  }
  assert.equal(await client.call("who", {}, { resourceId: "doc:2" }), "one");
  const { resources } = await client.query({ instanceId: "one" });
  assert.deepEqual(resources.map(({ resource_id }) => resource_id), ["doc:1", "doc:2"]);
  assert.deepEqual([resources[0].metadata.tags, resources[0].metadata.attributes], [["draft"], { pages: 3 }]);
});

test("the same goes for a router that was killed and is started again", async () => {
  const { instance, changes } = await owner(router.url, "one", []);
  const ids = Array.from({ length: 900 }, (_, index) => `doc:${index}`);
  await instance.bulkRegister(ids);
  await router.stop();
  const calling = connected(router.url).catch((error) => error);
  assert.ok(await calling instanceof ConnectionFailed);
  await start({ port: router.port });
  await until(() => changes.length === 900);
  assert.ok(changes.every(({ kind, epoch, previousEpoch }) => kind === "regained" && epoch > previousEpoch));
  const caller = await connected(router.url);
  assert.equal(await caller.call("who", {}, { resourceId: "doc:899" }), "one");
});

test("what is more than fits into one message is registered again in several", async () => {
  const narrow = await start({ max_bulk_items: 50 });
  const path = await between(narrow.port);
  const { instance, changes } = await owner(path.url, "one", []);
  const ids = Array.from({ length: 200 }, (_, index) => `doc:${index}`);
  for (let from = 0; from < ids.length; from += 50) {
    const few = ids.slice(from, from + 50);
    // in two bytes each: four times 900 KB
    const text = from ? "é".repeat(7500) : "short";
    await instance.register(few.slice(0, 25), { metadata: Object.fromEntries(few.slice(0, 25).map((id) => [id, { attributes: { text } }])) });
    await instance.register(few.slice(25), { metadata: Object.fromEntries(few.slice(25).map((id) => [id, { attributes: { text } }])) });
  }
  path.cut();
  await until(() => changes.length === 200);
  assert.ok(changes.every(({ kind }) => kind === "regained"));
  const { resources } = await clients[0].query({ prefix: "doc:199" });
  assert.equal(resources[0].metadata.attributes.text.length, 7500);
});

test("names of resources are names of nothing else", async () => {
  const ids = ["constructor", "toString", "__proto__", "hasOwnProperty"];
  const { client, instance, changes } = await owner(network.url, "one", []);
  await instance.register(ids.slice(0, 2), { metadata: { constructor: { tags: ["draft"] } } });
  const { epochs, registered } = await instance.bulkRegister(ids);
  assert.deepEqual(registered, ids);
  assert.deepEqual(Object.entries(epochs), [...instance.resources]);
  for (let round = 1; round <= 2; round++) {
    if (round === 1) network.cut();
    else network.strand(); // this time all of them are resumed
    await until(() => changes.length === ids.length * round);
    assert.ok(changes.every(({ kind, epoch, previousEpoch }) => kind === "regained" && epoch > previousEpoch), JSON.stringify(changes));
    for (const id of ids) assert.equal(await client.call("who", {}, { resourceId: id }), "one");
  }
  const { resources } = await client.query({ tags: ["draft"] });
  assert.deepEqual(resources.map(({ resource_id }) => resource_id), ["constructor"]);
  assert.deepEqual((await instance.release(ids)).released, ids);
});

test("what cannot be had again is told, with who has it", async () => {
  const { client, instance, changes } = await owner(network.url, "one", ["doc:1", "doc:2"], undefined, { reconnect: { baseSeconds: 2, capSeconds: 2 } });
  const { instance: rival } = await owner(router.url, "two", []);
  const before = instance.resources.get("doc:1");
  const waiting = rival.register("doc:1", { waitSeconds: 20 });
  await rival.register("doc:3");
  network.cut();
  await waiting;
  await until(() => changes.length === 2);
  const [lost, regained] = changes;
  assert.deepEqual([lost.kind, lost.resourceId, lost.cause, lost.newOwner, lost.errorCode, lost.epoch], ["lost", "doc:1", "session_ended", "two", "resource_conflict", before]);
  assert.deepEqual([regained.kind, regained.resourceId], ["regained", "doc:2"]);
  assert.deepEqual([...instance.resources.keys()], ["doc:2"]);
  assert.equal(await client.call("who", {}, { resourceId: "doc:1" }), "two");
});

test("an instance that its router still believes in takes the place of its earlier self, with all it owned", async () => {
  const { client, instance, changes } = await owner(network.url, "one", ["doc:1", "doc:2"]);
  const { instance: rival } = await owner(router.url, "two", []);
  const waiting = failure(rival.register("doc:1", { waitSeconds: 0.5 }));
  const before = instance.resources;
  network.strand();
  await until(() => changes.length === 2);
  assert.deepEqual(changes.map(({ kind, resourceId, resumed }) => [kind, resourceId, resumed]), [["regained", "doc:1", true], ["regained", "doc:2", true]]);
  for (const [resourceId, epoch] of instance.resources) assert.ok(epoch > before.get(resourceId));
  assert.ok((await waiting).is("resource_conflict")); // there was no moment without an owner
  assert.equal(await client.call("who", {}, { resourceId: "doc:1" }), "one");
});

test("what an instance owns is kept for it as long as it asked for", async () => {
  const client = await connected(network.url, { reconnect: { baseSeconds: 1, capSeconds: 1 } });
  const changes = [];
  const onChange = (change) => changes.push(change);
  const instance = await client.registerInstance("store", { who: () => "one" }, { instanceId: "one", resumeGraceSeconds: 20, onChange });
  await instance.register("doc:1");
  const { instance: rival, client: other } = await owner(router.url, "two", []);
  network.cut();
  await until(() => changes.length > 0);
  assert.ok((await failure(rival.register("doc:1"))).is("resource_conflict"));
  assert.equal(await other.call("who", {}, { resourceId: "doc:1" }), "one"); // made again until the owner is back
  await until(() => changes.length === 2);
  assert.equal(changes[0].kind, "disconnected");
  assert.deepEqual([changes[1].kind, changes[1].resumed], ["regained", true]);
});

test("an instance whose name is taken meanwhile waits for it", async () => {
  const { instance, changes } = await owner(network.url, "one", ["doc:1"], undefined, { reconnect: { baseSeconds: 0.4, capSeconds: 0.4 } });
  network.cut();
  const { client } = await owner(router.url, "one", []);
  await until(() => changes.some(({ kind }) => kind === "delayed"));
  assert.ok(changes.find(({ kind }) => kind === "delayed").error.is("instance_conflict"));
  await client.close();
  await until(() => changes.some(({ kind }) => kind === "regained"));
  assert.deepEqual([...instance.resources.keys()], ["doc:1"]);
});

test("requests of an instance that a break has cut off are asked again where that does no harm", async () => {
  const { instance } = await owner(network.url, "one", ["doc:1"]);
  const { instance: rival } = await owner(router.url, "two", ["doc:2"]);
  const waiting = instance.register("doc:2", { waitSeconds: 20 });
  await until(async () => (await clients[1].request("route.explain", { resource_id: "doc:2" })).waiters === 1);
  network.cut();
  const releasing = instance.release("doc:1"); // sent into the break, or not at all
  assert.equal((await releasing).success, true);
  await rival.release("doc:2");
  assert.equal((await waiting).success, true);
  assert.deepEqual([...instance.resources.keys()], ["doc:2"]);
});

test("a watch misses nothing and tells nothing twice, over any number of connections", async () => {
  const { instance } = await owner(router.url, "one", []);
  const client = await connected(network.url);
  const watch = await client.watch({ prefix: "doc:" });
  const expected = [];
  const told = [];
  const reading = (async () => {
    for await (const { event, resource } of watch) {
      told.push(`${event} ${resource.resource_id}`);
      if (resource.resource_id === "doc:end") return;
    }
  })();
  for (let round = 0; round < 30; round++) {
    const ids = Array.from({ length: 300 }, (_, index) => `doc:${round}-${index}`);
    await instance.bulkRegister(ids); // one revision in several messages
    expected.push(...ids.map((id) => `registered ${id}`));
    if (round % 3 === 0) network.cut();
    await instance.bulkRelease(ids);
    expected.push(...ids.map((id) => `released ${id}`));
  }
  await instance.register("doc:end");
  await reading;
  assert.deepEqual(told, [...expected, "registered doc:end"]);
});

test("events may be asked for before they are there", async () => {
  const { instance } = await owner(router.url, "one", []);
  const client = await connected(network.url);
  const iterator = (await client.watch({ prefix: "doc:" }))[Symbol.asyncIterator]();
  const asked = Array.from({ length: 4 }, () => iterator.next());
  await instance.register(["doc:1", "doc:2"]);
  network.cut();
  await instance.release(["doc:1", "doc:2"]);
  const told = (await Promise.all(asked)).map(({ value }) => `${value.event} ${value.resource.resource_id}`);
  assert.deepEqual(told, ["registered doc:1", "registered doc:2", "released doc:1", "released doc:2"]);
  await iterator.return();
});

test("a watch of a router that has forgotten is told so", async () => {
  const client = await connected(router.url);
  const watch = await client.watch({ prefix: "doc:" });
  await router.stop();
  await start({ port: router.port });
  const error = await failure(take(watch, 1));
  assert.ok(error.is("revision_gone"), error);
});

test("a client whose network falls silent notices, and begins anew", async () => {
  const lost = [];
  const client = await connected(network.url, { pingIntervalSeconds: 0.1 });
  client.onState((change) => change.state === "disconnected" && lost.push(change.error));
  network.silence();
  const error = await failure(client.request("resource.update", { resource_id: "doc:1", metadata: {} }));
  assert.ok(error instanceof ConnectionLost && error.closeCode === 4011);
  network.heal();
  await client.ping();
  assert.equal(lost[0].closeCode, 4011);
});

test("a program that stood still looks at what arrived meanwhile before it takes its router for gone", async () => {
  const asked = [];
  class Recorded extends (process.env.RESROUTE_TEST_WEBSOCKET === "ws" ? ws : WebSocket) {
    send(text) {
      super.send(text);
      if (text.includes("session.ping")) asked.push(text);
    }
  }
  const own = await start();
  const client = await connected(own.url, { WebSocket: Recorded, pingIntervalSeconds: 0.4 });
  const { sessionId } = client;
  own.process.kill("SIGSTOP");
  await until(() => asked.length === 1);
  own.process.kill("SIGCONT");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500); // meanwhile it is answered
  await until(() => asked.length === 3);
  assert.equal(client.sessionId, sessionId);
});

test("a router that stands still is noticed, and taken again when it goes on", async () => {
  const own = await start();
  const states = [];
  const client = await connected(own.url, { pingIntervalSeconds: 0.2, connectTimeoutSeconds: 0.5 });
  client.onState(({ state, error }) => states.push([state, error?.closeCode]));
  const held = failure(client.call("who", {}, { resourceId: "doc:1", waitForOwnerSeconds: 30 }));
  own.process.kill("SIGSTOP");
  await until(() => states.length >= 2); // connecting is in vain too
  assert.deepEqual(states.slice(0, 2), [["disconnected", 4011], ["disconnected", undefined]]);
  assert.equal((await held).delivery, "unknown");
  own.process.kill("SIGCONT");
  await until(() => client.isConnected);
  await client.ping();
});

test("of several routers the next one that answers is taken", async () => {
  const second = await start();
  const states = [];
  const client = await connected(["ws://127.0.0.1:1/", router.url, second.url]);
  client.onState((change) => states.push(change));
  await router.stop();
  await until(() => states.at(-1)?.state === "connected");
  assert.equal(states.at(-1).url, second.url);
});

test("a router that stops says when to come back", async () => {
  const states = [];
  const client = await connected(router.url);
  client.onState((change) => states.push(change));
  await router.stop("SIGTERM");
  await until(() => states.length);
  assert.equal(states[0].error.closeCode, 1001);
  await start({ port: router.port });
  await until(() => states.at(-1).state === "connected");
});

test("a program that has closed its clients ends, whatever they were waiting for", async () => {
  const module = new URL("../../resroute/admin/static/resroute.js", import.meta.url).href;
  const program = `
    import { connect } from ${JSON.stringify(module)};
    const options = { reconnect: { baseSeconds: 1000, capSeconds: 1000 } };
    const [first, second] = await Promise.all([connect("${network.url}", options), connect("${router.url}", options)]);
    await first.registerInstance("store", {}, { instanceId: "same" });
    const call = second.call("x", {}, { serviceName: "nobody", timeoutSeconds: 500, waitForOwnerSeconds: 0 }).catch(() => {});
    const watching = second.watch().then((watch) => watch[Symbol.asyncIterator]().next()).catch(() => {});
    first.onState(({ state }) => state === "disconnected" && Promise.all([first.close(), second.close()]).then(() => console.log("closed")));
    console.log("ready");`;
  const running = spawn(process.execPath, [...process.execArgv, "--input-type=module", "--no-warnings", "--eval", program]);
  const said = [];
  running.stdout.on("data", (text) => said.push(...text.toString().trim().split("\n")));
  running.stderr.on("data", (text) => said.push(text.toString()));
  await until(() => said.length);
  network.cut();
  const [code] = await once(running, "exit");
  assert.deepEqual([code, said], [0, ["ready", "closed"]]);
});

test("who is ended by an administrator stays away", async () => {
  const permissive = await start({ anonymous_roles: "caller,instance,admin" });
  const { client, instance } = await owner(permissive.url, "one", ["doc:1"]);
  const admin = await connected(permissive.url);
  await admin.request("session.end", { session_id: client.sessionId, reason: "a test" });
  const error = await client.closed;
  assert.ok(error instanceof ConnectionLost && error.closeCode === 4010 && error.reason === "a test");
  assert.ok(await failure(client.ping()) instanceof ConnectionLost);
  assert.ok(await failure(instance.register("doc:2")) instanceof ConnectionLost);
});

test("where nobody listens, or nobody is, connecting fails", async () => {
  for (const url of ["ws://127.0.0.1:1/", "http://[broken", "ws://no.such.host.invalid/"]) {
    assert.ok(await failure(open(url)) instanceof ConnectionFailed, url);
  }
  network.silence();
  const error = await failure(open(network.url, { connectTimeoutSeconds: 0.2 }));
  assert.ok(error instanceof ConnectionFailed && /does not answer/.test(error.message), error);
});

test("a signal ends connecting, and a connection", async () => {
  network.silence();
  const controller = new AbortController();
  const connecting = failure(open(network.url, { signal: controller.signal }));
  controller.abort(new Error("enough"));
  assert.equal((await connecting).message, "enough");
  assert.equal((await failure(open(router.url, { signal: AbortSignal.abort() }))).name, "AbortError");
  const second = new AbortController();
  const client = await open(router.url, { signal: second.signal });
  second.abort();
  assert.equal(await client.closed, null);
});
