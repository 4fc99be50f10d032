// The story with vscode-ws-jsonrpc, at the URL given; and a request that is cancelled its way.
import { CancellationTokenSource } from "vscode-jsonrpc";
import { listen } from "vscode-ws-jsonrpc";
import WebSocket from "ws";
import { errorOf, Pushes, tell } from "./story.mjs";

const socket = new WebSocket(process.argv[2]);
const connection = await new Promise((resolve) => listen({ webSocket: socket, onConnection: resolve }));
const pushes = new Pushes();
connection.onNotification("changed", (params) => pushes.push("changed", params));
connection.onUnhandledProgress((params) => pushes.push("$/progress", params));
connection.listen();

await tell({
  request: (method, params) => connection.sendRequest(method, ...(Array.isArray(params) ? params : [params])),
  notify: (method, params) => connection.sendNotification(method, params),
  nextPush: (method) => pushes.next(method),
});

const source = new CancellationTokenSource();
const cancelled = errorOf(connection.sendRequest("wait", {}, source.token));
await connection.sendRequest("echo", { text: "the owner has it" });
source.cancel();
const { code, data } = await cancelled;
console.log(JSON.stringify({ code, type: data.type, delivery: data.delivery }));
connection.dispose();
socket.close();
