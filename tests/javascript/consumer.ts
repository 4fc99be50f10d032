// Not run: the compiler shows with it that the declarations say what a program relies on, and refuse what they should.
import { connect, HandlerBlocked, RouterError, type CallStream, type OwnershipChange, type ResourceEvent } from "resroute";

const client = await connect(["ws://127.0.0.1:8765/"], {
  token: async () => "t",
  reconnect: { capSeconds: 5 },
  keepTrying: true,
  onState: (change) => change.state === "disconnected" && console.log(change.retryInSeconds),
  onError: (error) => error instanceof HandlerBlocked && console.log(error.method, error.seconds),
});
const sum: number = await client.call<number>("add", { a: 2, b: 3 }, { resourceId: "sum:1", signal: AbortSignal.timeout(1) });
const stream: CallStream<string> = client.call<string>("count", [], { serviceName: "sums", progress: true });
for await (const part of stream) console.log(part, sum);
const result: string = await stream;
const kept: string | null = await stream.catch(() => null).finally(() => console.log("over"));

// @ts-expect-error: a call without progress cannot be iterated
for await (const part of client.call("count", [], { serviceName: "sums" })) console.log(part);
// @ts-expect-error: names are in camelCase
await client.call("add", {}, { resource_id: "sum:1" });
// @ts-expect-error: only connect makes clients
new (client.constructor as typeof import("resroute").Client)();

try {
  const instance = await client.registerInstance("sums", {
    add: ({ a, b }: { a: number; b: number }) => a + b,
    async *count(params, call) {
      yield call.epoch;
      if (call.signal.aborted) return;
      await call.notify("counted", { by: call.caller.sessionId, kept }, { signal: call.signal });
    },
  });
  instance.onChange((change: OwnershipChange) => {
    if (change.kind === "lost") console.log(change.newOwner);
    // @ts-expect-error: only what is lost has a new owner
    else console.log(change.newOwner);
  });
  const { epochs } = await instance.register("sum:1", { waitSeconds: 5 });
  const epoch: number = epochs["sum:1"];
  console.log(epoch, result);
} catch (error) {
  if (error instanceof RouterError && error.is("resource_conflict")) {
    const conflicts: Record<string, string> = error.data.conflicts;
    console.log(conflicts, error.traceId, error.delivery);
  }
  // @ts-expect-error: there is no such type of error
  if (error instanceof RouterError && error.is("resource_conflicts")) throw error;
}

const watch = await client.watch({ prefix: "sum:" }, { snapshot: true });
const ids: string[] = watch.snapshot.map(({ resource_id }) => resource_id);
for await (const event of watch) {
  const told: ResourceEvent = event;
  console.log(told.resource.epoch, ids);
}
