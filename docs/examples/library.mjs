import { JSONRPCClient } from "json-rpc-2.0";
import WebSocket from "ws";

const socket = new WebSocket("ws://127.0.0.1:8765/resources/doc:1");
const client = new JSONRPCClient((request) => socket.send(JSON.stringify(request)));
socket.onmessage = ({ data }) => client.receive(JSON.parse(data));

socket.onopen = async () => {
  console.log(await client.request("append", { text: "Once upon a time" }), "line");
  console.log(await client.request("read"));
  await client.request("print").catch((error) => console.log(error.message));
  socket.close();
};
