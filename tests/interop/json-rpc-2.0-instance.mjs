// A plain instance that answers with json-rpc-2.0: URL SERVICE RESOURCE_ID.
import { JSONRPCClient, JSONRPCErrorException, JSONRPCServer, JSONRPCServerAndClient } from "json-rpc-2.0";
import WebSocket from "ws";

const [url, service_name, resource_id] = process.argv.slice(2);
const socket = new WebSocket(url);
const send = (message) => socket.send(JSON.stringify(message));
const peer = new JSONRPCServerAndClient(new JSONRPCServer(), new JSONRPCClient(send));
const notes = [];
peer.addMethod("subtract", (params) =>
  Array.isArray(params) ? params[0] - params[1] : params.minuend - params.subtrahend,
);
peer.addMethod("fail", ({ page }) => {
  throw new JSONRPCErrorException("no such page", 7, { page });
});
peer.addMethod("note", ({ text }) => void notes.push(text));
peer.addMethod("notes", () => notes);
socket.on("message", (data) => peer.receiveAndSend(JSON.parse(data)));
await new Promise((resolve) => socket.on("open", resolve));

await peer.request("instance.register", { service_name, plain: true });
await peer.request("resource.register", { resource_ids: [resource_id] });
console.log("ready");
