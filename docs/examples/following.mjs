import { connect } from "resroute";

const URL = "ws://127.0.0.1:8765/";
const client = await connect(URL);

// Somebody edits drafts...
const editor = await connect(URL);
const instance = await editor.registerInstance("documents", {}, { instanceId: "editor-1" });
await instance.register(["doc:1", "doc:2"], { metadata: { "doc:1": { tags: ["draft"] } } });

// ...and we follow what becomes of them: first how things are, then each change, whatever happens to the connection.
const watch = await client.watch({ tags: ["draft"] }, { snapshot: true });
for (const { resource_id, owner_instance_id } of watch.snapshot) {
  console.log(`${resource_id} is with ${owner_instance_id}`);
}

await instance.update("doc:2", { tags: ["draft", "urgent"] });
await instance.release("doc:1");

for await (const { event, resource } of watch) {
  console.log(`${resource.resource_id}: ${event}`);
  if (event === "released") break; // leaving the loop ends the watch
}

await Promise.all([client.close(), editor.close()]);
