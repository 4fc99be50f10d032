// The story with @open-rpc/client-js, at the URL given; and a batch.
import { Client, RequestManager, WebSocketTransport } from "@open-rpc/client-js";
import { Pushes, tell } from "./story.mjs";

const transport = new WebSocketTransport(process.argv[2]);
const client = new Client(new RequestManager([transport]));
const pushes = new Pushes();
client.onNotification(({ method, params }) => pushes.push(method, params));

await tell({
  request: (method, params) => client.request({ method, params }),
  notify: (method, params) => client.notify({ method, params }),
  nextPush: (method) => pushes.next(method),
});

client.startBatch();
const batch = [
  client.request({ method: "subtract", params: [42, 23] }),
  client.request({ method: "echo", params: { text: "in a batch" } }),
];
client.stopBatch();
console.log(JSON.stringify(await Promise.all(batch)));
client.close();
process.exit(); // it keeps the timers of requests that have their answers
