// The story with rpc-websockets, at the URL given.
import { Client } from "rpc-websockets";
import { Pushes, tell } from "./story.mjs";

const client = new Client(process.argv[2], { reconnect: false });
const pushes = new Pushes();
for (const method of ["changed", "$/progress"]) client.on(method, (params) => pushes.push(method, params));
await new Promise((resolve) => client.on("open", resolve));

await tell({
  request: (method, params) => client.call(method, params),
  notify: (method, params) => client.notify(method, params),
  nextPush: (method) => pushes.next(method),
});
client.close();
