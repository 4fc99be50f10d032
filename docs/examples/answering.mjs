import { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient } from "json-rpc-2.0";
import WebSocket from "ws";

const socket = new WebSocket("ws://127.0.0.1:8765/");
const send = (message) => socket.send(JSON.stringify(message));
const peer = new JSONRPCServerAndClient(new JSONRPCServer(), new JSONRPCClient(send));
socket.onmessage = ({ data }) => peer.receiveAndSend(JSON.parse(data));

peer.addMethod("add", ({ a, b }) => a + b);

socket.onopen = async () => {
  await peer.request("instance.register", { service_name: "sums", plain: true });
  const { registered } = await peer.request("resource.register", { resource_ids: ["sum:1"] });
  console.log("It answers for", ...registered);
};
