// Reads an OpenRPC document on stdin, has the reference implementation check it, and prints the names of its methods.
import { readFileSync } from "node:fs";
import openrpc from "@open-rpc/schema-utils-js";

const document = JSON.parse(readFileSync(0, "utf8"));
const complaint = openrpc.validateOpenRPCDocument(document);
if (complaint !== true) {
  throw complaint;
}
const parsed = await openrpc.parseOpenRPCDocument(document); // follows every reference
console.log(JSON.stringify(parsed.methods.map((method) => method.name)));
