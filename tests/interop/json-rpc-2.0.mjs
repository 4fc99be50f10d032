// The story with json-rpc-2.0, at the URL given; and a batch.
import { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient } from "json-rpc-2.0";
import WebSocket from "ws";
import { Pushes, tell } from "./story.mjs";

const socket = new WebSocket(process.argv[2]);
const send = (message) => socket.send(JSON.stringify(message));
const peer = new JSONRPCServerAndClient(new JSONRPCServer(), new JSONRPCClient(send));
const pushes = new Pushes();
for (const method of ["changed", "$/progress"]) peer.addMethod(method, (params) => pushes.push(method, params));
socket.on("message", (data) => peer.receiveAndSend(JSON.parse(data)));
await new Promise((resolve) => socket.on("open", resolve));

await tell({
  request: (method, params) => peer.request(method, params),
  notify: (method, params) => peer.notify(method, params),
  nextPush: (method) => pushes.next(method),
});

const batch = await peer.requestAdvanced([
  { jsonrpc: "2.0", id: "a", method: "subtract", params: [42, 23] },
  { jsonrpc: "2.0", id: "b", method: "echo", params: { text: "in a batch" } },
]);
console.log(JSON.stringify(batch.sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ result }) => result)));
socket.close();
