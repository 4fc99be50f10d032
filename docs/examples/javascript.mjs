import { connect, RouterError } from "resroute";

const URL = "ws://127.0.0.1:8765/";

// One program owns a document, and answers calls for it.
const ours = await connect(URL);
const instance = await ours.registerInstance("documents", {
  read: ({ line }, call) => `line ${line} of ${call.resourceId}`,
  async *print({ pages }) {
    for (let page = 1; page <= pages; page++) yield `page ${page}`;
    return "printed";
  },
});
await instance.register("doc:1");

// Another one calls whoever owns it.
const theirs = await connect(URL);
console.log(await theirs.call("read", { line: 3 }, { resourceId: "doc:1", timeoutSeconds: 5 }));

const printing = theirs.call("print", { pages: 2 }, { resourceId: "doc:1", progress: true });
for await (const part of printing) console.log(part);
console.log(await printing);

try {
  await theirs.call("read", { line: 3 }, { resourceId: "doc:2" });
} catch (error) {
  if (!(error instanceof RouterError && error.is("resource_not_found"))) throw error;
  console.log("Nobody owns", error.data.resource_id);
}

await Promise.all([ours.close(), theirs.close()]);
