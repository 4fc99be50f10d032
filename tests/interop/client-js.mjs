// The story with @open-rpc/client-js, at the URL given.
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
client.close();
process.exit(); // it keeps the timers of requests that have their answers
