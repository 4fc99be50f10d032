// A program whose router is behind TLS, which it speaks itself: PORT KEY CERTIFICATE. What becomes of connecting it prints.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import tls from "node:tls";
import { open } from "./harness.mjs";

const [port, key, cert] = process.argv.slice(2);
const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (theirs) => {
  const ours = net.connect(Number(port), "127.0.0.1");
  for (const [from, to] of [[theirs, ours], [ours, theirs]]) {
    from.on("error", () => to.destroy());
    from.pipe(to);
  }
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
try {
  const client = await open(`wss://127.0.0.1:${server.address().port}/`, { connectTimeoutSeconds: 60 });
  await client.ping();
  await client.close();
  console.log("connected");
} catch (error) {
  console.log(`${error.name}: ${error.message}`);
}
server.close();
