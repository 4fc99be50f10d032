// Owning resources, and following what becomes of them, through a router.
import assert from "node:assert/strict";
import test, { after, afterEach, before, beforeEach } from "node:test";
import { Router, RouterError, failure, open, take, until } from "./harness.mjs";

let router, client, instance, other, rival;
let changes, rivals;

before(async () => {
  router = await Router.start();
});
after(() => router.stop());

beforeEach(async () => {
  [changes, rivals] = [[], []];
  client = await open(router.url);
  other = await open(router.url);
  instance = await client.registerInstance("store", { who: () => "one" }, { instanceId: "one", onChange: (change) => changes.push(change) });
  rival = await other.registerInstance("store", { who: () => "two" }, { instanceId: "two", onChange: (change) => rivals.push(change) });
});
afterEach(async () => {
  await Promise.all([client.close(), other.close()]);
});

const who = (resourceId) => other.call("who", {}, { resourceId });

test("an instance registers, and is told its epochs", async () => {
  const { success, registered, conflicts, epochs } = await instance.register(["doc:1", "doc:2"]);
  assert.deepEqual([success, registered, conflicts], [true, ["doc:1", "doc:2"], {}]);
  assert.deepEqual(Object.fromEntries(instance.resources), epochs);
  assert.equal(await who("doc:1"), "one");
  assert.equal(instance.instanceId, "one");
  assert.equal(instance.serviceName, "store");
});

test("what another owns is a conflict, and with partial a result", async () => {
  await rival.register("doc:1");
  const error = await failure(instance.register(["doc:1", "doc:2"]));
  assert.ok(error instanceof RouterError && error.is("resource_conflict"));
  assert.deepEqual(error.data.conflicts, { "doc:1": "two" });
  assert.equal(instance.resources.size, 0);
  const { success, registered, conflicts } = await instance.register(["doc:1", "doc:2"], { partial: true });
  assert.deepEqual([success, registered, conflicts], [false, ["doc:2"], { "doc:1": "two" }]);
  assert.deepEqual([...instance.resources.keys()], ["doc:2"]);
});

test("an instance stands in line, and a signal takes it out", async () => {
  await rival.register("doc:1");
  const controller = new AbortController();
  const left = failure(instance.register("doc:1", { waitSeconds: 30, signal: controller.signal }));
  await client.ping();
  controller.abort();
  assert.equal((await left).name, "AbortError");
  const waiting = instance.register("doc:1", { waitSeconds: 30 });
  await client.ping();
  await rival.release("doc:1");
  assert.equal((await waiting).success, true);
  assert.equal(await who("doc:1"), "one");
});

test("what is released is anybody's", async () => {
  await instance.register(["doc:1", "doc:2"]);
  assert.deepEqual((await instance.release("doc:1")).released, ["doc:1"]);
  assert.deepEqual([...instance.resources.keys()], ["doc:2"]);
  await rival.register("doc:1");
  assert.ok((await failure(instance.release("doc:1"))).is("not_owner"));
  const { released, failed } = await instance.release(["doc:1", "doc:2", "doc:3"], { partial: true });
  assert.deepEqual([released, failed], [["doc:2"], { "doc:1": "not_owner", "doc:3": "resource_not_found" }]);
  assert.equal(instance.resources.size, 0);
});

test("thousands are registered and released in bulk, and progress is told", async () => {
  const ids = Array.from({ length: 950 }, (_, index) => `bulk:${String(index).padStart(4, "0")}`);
  const told = [];
  const resources = ids.map((resourceId, index) => (index % 2 ? resourceId : { resourceId, metadata: { tags: ["even"] } }));
  const result = await instance.bulkRegister(resources, { batchSize: 100, onProgress: ({ done }) => told.push(done) });
  assert.equal(result.complete, true);
  assert.deepEqual(told, [100, 200, 300, 400, 500, 600, 700, 800, 900, 950]);
  assert.equal(instance.resources.size, 950);
  const { resources: infos } = await client.query({ prefix: "bulk:", limit: 1 });
  assert.equal(infos[0].epoch, instance.resources.get("bulk:0000"));
  let count = 0;
  for await (const { resource_id } of client.queryAll({ prefix: "bulk:", tags: ["even"] })) {
    assert.equal(resource_id, ids[2 * count++]);
  }
  assert.equal(count, 475);
  assert.equal((await instance.bulkRelease(ids)).complete, true);
  assert.equal(instance.resources.size, 0);
});

test("of a bulk that fails nothing is left, unless it goes on", async () => {
  await rival.register("doc:2");
  const whole = await instance.bulkRegister(["doc:1", "doc:2", "doc:3"]);
  assert.deepEqual([whole.rolled_back, whole.registered], [true, []]);
  assert.equal(instance.resources.size, 0);
  const part = await instance.bulkRegister(["doc:1", "doc:2", "doc:3"], { continueOnError: true });
  assert.deepEqual(part.registered.sort(), ["doc:1", "doc:3"]);
  assert.equal(part.failed[0].current_owner, "two");
  assert.deepEqual([...instance.resources.keys()].sort(), ["doc:1", "doc:3"]);
});

test("metadata is changed, and a version that is not the current one refused", async () => {
  await instance.register("doc:1", { metadata: { "doc:1": { tags: ["draft"], ttl_seconds: 60 } } });
  const info = await instance.update("doc:1", { attributes: { pages: 3 } }, { merge: true, expectedVersion: 1 });
  assert.deepEqual([info.metadata.tags, info.metadata.attributes, info.metadata.version], [["draft"], { pages: 3 }, 2]);
  assert.ok((await failure(instance.update("doc:1", {}, { expectedVersion: 1 }))).is("version_conflict"));
  assert.deepEqual((await instance.renew("doc:1", { ttlSeconds: 90 })).renewed, ["doc:1"]);
});

test("what is handed over arrives with its state, and calls follow", async () => {
  await instance.register("doc:1", { metadata: { "doc:1": { tags: ["draft"] } } });
  const { epochs, transfer_id } = await instance.transfer("doc:1", { to: "two", reason: "a test", state: { "doc:1": { cursor: 3 } } });
  assert.equal(await who("doc:1"), "two");
  const [lost] = changes;
  assert.deepEqual([lost.kind, lost.resourceId, lost.cause, lost.newOwner, lost.transferId], ["lost", "doc:1", "transfer", "two", transfer_id]);
  const [acquired] = rivals;
  assert.deepEqual([acquired.kind, acquired.epoch, acquired.state, acquired.fromInstanceId], ["acquired", epochs["doc:1"], { cursor: 3 }, "one"]);
  assert.deepEqual(acquired.metadata.tags, ["draft"]);
  assert.equal(instance.resources.size, 0);
  assert.equal(rival.resources.get("doc:1"), epochs["doc:1"]);
});

test("what is taken by force is lost, and the one who took it has it", async () => {
  const permissive = await Router.start({ anonymous_roles: "caller,instance,admin" });
  const clients = await Promise.all([open(permissive.url), open(permissive.url)]);
  const [first, second] = await Promise.all(clients.map((each, index) =>
    each.registerInstance("store", { who: () => index }, { instanceId: `number-${index}`, onChange: (change) => changes.push(change) })));
  await first.register("doc:1");
  await second.register("doc:1", { force: true });
  await until(() => changes.length === 1);
  assert.deepEqual([changes[0].kind, changes[0].cause, changes[0].newOwner], ["lost", "forced", "number-1"]);
  assert.equal(await clients[0].call("who", {}, { resourceId: "doc:1" }), 1);
  await Promise.all(clients.map((each) => each.close()));
  await permissive.stop();
});

test("an instance that drains hands over what it owns", async () => {
  await instance.register(["doc:1", "doc:2"]);
  assert.deepEqual((await instance.drain()).handed_over, 2);
  assert.equal(await who("doc:1"), "two");
  assert.equal(rivals.filter(({ kind }) => kind === "acquired").length, 2);
});

test("a client is one instance at most, and one that was refused may try again", async () => {
  assert.ok(await failure(client.registerInstance("store", {})) instanceof TypeError);
  const third = await open(router.url);
  assert.ok((await failure(third.registerInstance("store", {}, { instanceId: "one" }))).is("instance_conflict"));
  assert.equal((await third.registerInstance("store", {}, { instanceId: "three" })).instanceId, "three");
  await third.close();
});

test("a watch tells how things are, and each change after that once", async () => {
  await instance.register(["doc:1", "doc:2"]);
  const watch = await client.watch({ prefix: "doc:" }, { snapshot: true });
  assert.deepEqual(watch.snapshot.map(({ resource_id }) => resource_id), ["doc:1", "doc:2"]);
  await instance.release("doc:1");
  await rival.register(["doc:1", "doc:3", "other"]);
  const events = await take(watch, 3);
  assert.deepEqual(
    events.map(({ event, resource, cause, previousOwner }) => [event, resource.resource_id, cause, previousOwner]),
    [["released", "doc:1", "request", "one"], ["registered", "doc:1", "request", undefined], ["registered", "doc:3", "request", undefined]],
  );
  assert.equal(watch.revision, events[2].revision);
  const later = await client.watch({ prefix: "doc:" }, { fromRevision: events[0].revision });
  assert.deepEqual((await take(later, 2)).map(({ event }) => event), ["registered", "registered"]);
  for (const each of [watch, later]) each.close();
});

test("a snapshot of many pages has each resource once, whatever happens meanwhile", async () => {
  const ids = Array.from({ length: 600 }, (_, index) => `doc:${index}`);
  await instance.bulkRegister(ids);
  await rival.register(Array.from({ length: 600 }, (_, index) => `doc:x${index}`));
  const busy = Promise.all(ids.slice(0, 50).map((id) => instance.release(id)));
  const watch = await other.watch({ prefix: "doc:" }, { snapshot: true });
  await busy;
  await instance.register("doc:last");
  const known = new Set(watch.snapshot.map(({ resource_id }) => resource_id));
  assert.equal(known.size, watch.snapshot.length);
  for await (const { event, resource } of watch) {
    if (event === "released") known.delete(resource.resource_id);
    else known.add(resource.resource_id);
    if (resource.resource_id === "doc:last") break;
  }
  const there = [];
  for await (const { resource_id } of client.queryAll({ prefix: "doc:" })) there.push(resource_id);
  assert.equal(there.length, 600 + 600 - 50 + 1);
  assert.deepEqual([...known].sort(), there.sort());
});

test("a watch ends when its loop is left, when it is closed, and when its signal says so", async () => {
  const count = async () => (await client.request("session.info")).limits.max_watches;
  const controller = new AbortController();
  for (let round = 0; round < await count() + 2; round++) {
    const watch = await client.watch({ prefix: "doc:" });
    await instance.register("doc:1");
    for await (const { event } of watch) {
      assert.equal(event, "registered");
      break;
    }
    await instance.release("doc:1");
  }
  const closed = await client.watch();
  const taking = closed[Symbol.asyncIterator]().next();
  closed.close();
  assert.equal((await taking).done, true);
  const aborted = await client.watch({}, { signal: controller.signal });
  const failing = failure(aborted[Symbol.asyncIterator]().next());
  controller.abort();
  assert.equal((await failing).name, "AbortError");
});

test("who watches and takes nothing for long goes on where it was", async () => {
  const watch = await other.watch({ prefix: "doc:" });
  const padding = { attributes: { text: "x".repeat(10_000) } };
  const ids = Array.from({ length: 100 }, (_, index) => `doc:${String(index).padStart(3, "0")}`);
  const metadata = Object.fromEntries(ids.map((id) => [id, padding]));
  for (let round = 0; round < 8; round++) {
    await instance.register(ids.slice(0, 50), { metadata: Object.fromEntries(ids.slice(0, 50).map((id) => [id, metadata[id]])) });
    await instance.register(ids.slice(50), { metadata: Object.fromEntries(ids.slice(50).map((id) => [id, metadata[id]])) });
    await instance.release(ids);
  }
  await other.ping(); // about 16 MB have come by now, four times what is kept
  const events = await take(watch, 1600);
  assert.deepEqual(
    events.map(({ event, resource }) => `${event} ${resource.resource_id}`),
    Array.from({ length: 8 }, () => [...ids.map((id) => `registered ${id}`), ...ids.map((id) => `released ${id}`)]).flat(),
  );
  watch.close();
});

test("a revision that is forgotten is said to be", async () => {
  const error = await failure(client.watch({}, { fromRevision: 1 }));
  assert.ok(error.is("revision_gone") && error.data.oldest_revision > 1);
});
