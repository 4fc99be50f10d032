// An instance for tests of programs in other languages: URL INSTANCE_ID. What becomes of its resources it prints.
import { RemoteError, open } from "./harness.mjs";

const [url, instanceId] = process.argv.slice(2);
const client = await open(url);
const say = (...what) => console.log(JSON.stringify(what));

await client.registerInstance("documents", {
  echo: (params, call) => ({ params, epoch: call.epoch, key: call.idempotencyKey ?? null }),
  async *count({ to }) {
    for (let number = 1; number <= to; number++) yield number;
    return "counted";
  },
  hold: (params, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => {
    say("aborted", signal.reason.name);
    reject(signal.reason);
  })),
  fail: () => {
    throw new RemoteError(7, "no such page", { page: 9 });
  },
  push: async (params, call) => {
    await call.notify("pushed", params);
    return "pushed";
  },
}, { instanceId, onChange: ({ kind, resourceId, state }) => say(kind, resourceId, state) });
say("ready");
