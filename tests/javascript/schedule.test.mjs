// Everything at once, while connections break at random: what clients saw is held against what they are promised.
import assert from "node:assert/strict";
import test from "node:test";
import { ConnectionLost, Network, RemoteError, Router, RouterError, open, until } from "./harness.mjs";

const IDS = Array.from({ length: 30 }, (_, index) => `doc:${String(index).padStart(2, "0")}`);
const SECONDS = 4;
const SEEDS = (process.env.RESROUTE_TEST_SEEDS ?? "1,2").split(",").map(Number);

/** Numbers from 0 to 1, the same for the same seed. */
function randomness(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

for (const seed of SEEDS) {
  test(`nothing runs twice that must not, and everybody ends up knowing what is so (seed ${seed})`, async (t) => {
    const random = randomness(seed);
    const pick = (list) => list[Math.floor(random() * list.length)];
    const pause = () => new Promise((resolve) => setTimeout(resolve, random() * 20));
    const router = await Router.start();
    const networks = await Promise.all(Array.from({ length: 4 }, () => Network.open(router.port)));
    const clients = await Promise.all(networks.map(({ url }) => open(url, { pingIntervalSeconds: 0.2 })));
    t.after(async () => {
      await Promise.all(clients.map((client) => client.close()));
      networks.forEach((network) => network.close());
      await router.stop();
    });
    const [first, second, caller, watcher] = clients;
    const runs = new Map(); // call -> how often it ran
    const known = [new Map(), new Map()]; // what each instance was told that it owns
    let isOver = false;

    const instances = await Promise.all([first, second].map((client, index) =>
      client.registerInstance("store", {
        run: async ({ call }, { epoch }) => {
          runs.set(call, (runs.get(call) ?? 0) + 1);
          await pause();
          if (call.endsWith("3")) throw new RemoteError(7, call);
          return { call, epoch };
        },
      }, {
        instanceId: `number-${index}`,
        resumeGraceSeconds: index ? 1 : 0,
        onChange: (change) => {
          if (change.kind === "regained") known[index].set(change.resourceId, change.epoch);
          else if (change.kind === "lost") known[index].delete(change.resourceId);
        },
      })));
    const take = async (index, id, options = {}) => {
      const { registered, epochs } = await instances[index].register(id, { partial: true, ...options });
      if (registered.length) known[index].set(id, epochs[id]);
    };
    const takePerhaps = async (index, id) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), random() * 10);
      try {
        await take(index, id, { signal: controller.signal });
      } catch (error) {
        assert.equal(error.name, "AbortError"); // and so nothing is owned, though it may have been for a moment
      }
    };
    await Promise.all(IDS.map((id, index) => take(index % 2, id)));

    // the watcher keeps a copy of what there is
    const copy = new Map();
    const watch = await watcher.watch({ prefix: "doc:" }, { snapshot: true });
    for (const { resource_id, owner_instance_id } of watch.snapshot) copy.set(resource_id, owner_instance_id);
    let revision = 0;
    const watching = (async () => {
      for await (const { event, resource, revision: next } of watch) {
        assert.ok(next >= revision);
        revision = next;
        if (event === "released") copy.delete(resource.resource_id);
        else copy.set(resource.resource_id, resource.owner_instance_id);
        if (resource.resource_id === "doc:end") return;
      }
    })();

    const outcomes = { ok: 0, failed: 0, lost: 0 };
    let count = 0;
    const calling = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const call = `call-${count++}`;
        const idempotent = random() < 0.5;
        try {
          const answer = await caller.call("run", { call }, { resourceId: pick(IDS), idempotent, waitForOwnerSeconds: 5, timeoutSeconds: 10 });
          assert.equal(answer.call, call);
          assert.ok(runs.get(call) >= 1);
          outcomes.ok += 1;
        } catch (error) {
          if (error instanceof RemoteError) {
            assert.ok(error.code === 7 && error.message === call && runs.get(call) >= 1);
            outcomes.failed += 1;
          } else {
            assert.ok(error instanceof ConnectionLost || error instanceof RouterError, error);
            assert.ok(error.delivery !== "not_delivered" || !runs.has(call), `${call}: ${error}`);
            outcomes.lost += 1;
          }
        }
        if (!idempotent) assert.ok((runs.get(call) ?? 0) <= 1, `${call} ran ${runs.get(call)} times`);
      }
    });
    const moving = Array.from({ length: 2 }, async (_, index) => {
      while (!isOver) {
        const id = pick(IDS);
        known[index].delete(id); // whatever comes of it, it is not to be had again
        await instances[index].release(id, { partial: true });
        await pause();
        await (random() < 0.3 ? takePerhaps : take)(index, id);
      }
    });

    const deadline = performance.now() + SECONDS * 1000;
    while (performance.now() < deadline) {
      for (let n = 0; n < 10; n++) await pause();
      const network = pick(networks);
      const how = random();
      if (how < 0.5) network.cut();
      else if (how < 0.85) network.strand();
      else if (how < 0.95) {
        network.silence();
        setTimeout(() => network.heal(), 300);
      } else {
        router.process.kill("SIGSTOP");
        setTimeout(() => router.process.kill("SIGCONT"), 300);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 400)); // the router goes on
    networks.forEach((network) => network.heal());
    isOver = true;
    await Promise.all([...calling, ...moving]);

    // all of it settles, and everybody knows the same
    await until(() => clients.every(({ isConnected }) => isConnected));
    const owned = new Map();
    await until(async () => {
      owned.clear();
      for await (const { resource_id, owner_instance_id, epoch } of watcher.queryAll({ prefix: "doc:" })) owned.set(resource_id, [owner_instance_id, epoch]);
      return instances.every(({ instanceId, resources }) => {
        const its = [...owned].filter(([, [owner]]) => owner === instanceId).map(([id, [, epoch]]) => [id, epoch]);
        return JSON.stringify(its.sort()) === JSON.stringify([...resources].sort());
      });
    }, "what instances believe that they own is what the router says");
    await instances[0].register("doc:end");
    await watching;
    assert.deepEqual([...copy].sort(), [...owned].map(([id, [owner]]) => [id, owner]).concat([["doc:end", "number-0"]]).sort());
    assert.ok(outcomes.ok > 50, JSON.stringify(outcomes));
    instances.forEach(({ resources }, index) => {
      for (const [id, epoch] of known[index]) assert.equal(resources.get(id), epoch, `${id}: ${JSON.stringify(outcomes)}`);
    });
  });
}
