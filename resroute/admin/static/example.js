// A pad that one tab owns: an example of what a page can do with a router.
import { connect, ResrouteError, RouterError } from "./resroute.js";

const PAD = "pad:example";
const asked = new URLSearchParams(location.search);
const url = asked.get("url") ?? `ws://${location.hostname}:${asked.get("port") ?? 8765}/`;

const show = (id, text) => (document.getElementById(id).textContent = text);
const pad = document.getElementById("text");

let hint = ". Is the router there? Say where: ?url=ws://…";
const client = await connect(url, {
  keepTrying: true,
  onState: ({ state, error }) => show("state", error ? `${state}: ${error.message}${hint}` : state),
});
hint = "";

// --- as the owner: it keeps the text, and tells all who have asked for it when it changes

const readers = new Set();

const instance = await client.registerInstance("pads", {
  read(params, call) {
    readers.add(call.caller.sessionId);
    return { text: pad.value };
  },
  async write({ text }, call) {
    pad.value = text;
    await Promise.all([...readers].map((reader) => tell(reader, text)));
  },
});
show("self", instance.instanceId);

async function tell(reader, text) {
  try {
    await instance.notify(reader, PAD, "changed", { text });
  } catch (error) {
    if (!(error instanceof RouterError)) throw error;
    readers.delete(reader); // it has gone
  }
}

/** Stand in line for the pad until this tab has it, again and again. */
async function own() {
  for (;;) {
    try {
      await instance.register(PAD, { waitSeconds: 300 });
      return;
    } catch (error) {
      if (!(error instanceof RouterError && error.is("resource_conflict"))) throw error;
    }
  }
}

// Whoever has lost it stands in line again.
instance.onChange(({ kind }) => kind === "lost" && void own());
void own();

// --- as everybody: it calls the owner, whoever that is, which may be itself

client.onNotification(({ method, params }) => {
  if (method === "changed" && params.text !== pad.value) pad.value = params.text;
});

pad.addEventListener("input", () => void call("write", { text: pad.value }));

/** Call the owner. What goes wrong is shown; the watch tells of the next owner. */
async function call(method, params = {}) {
  try {
    return await client.call(method, params, { resourceId: PAD, waitForOwnerSeconds: 10, idempotent: true });
  } catch (error) {
    if (!(error instanceof ResrouteError)) throw error;
    note(error.message);
    return null;
  }
}

function note(text) {
  const line = document.createElement("li");
  line.textContent = text;
  const events = document.getElementById("events");
  events.append(line);
  if (events.children.length > 100) events.firstElementChild.remove();
}

/** Get the text from an owner, which from then on tells this tab of changes. */
async function subscribe(owner) {
  show("owner", owner);
  const answer = await call("read");
  if (answer) pad.value = answer.text;
  pad.disabled = false;
}

for (;;) {
  try {
    const watch = await client.watch({ resourceIds: [PAD] }, { snapshot: true });
    for (const { owner_instance_id } of watch.snapshot) await subscribe(owner_instance_id);
    for await (const { event, cause, resource } of watch) {
      note(`${event} (${cause}): ${resource.owner_instance_id}`);
      if (event === "released" || event === "expired") show("owner", "nobody");
      else await subscribe(resource.owner_instance_id);
    }
  } catch (error) {
    // a router that was started again remembers nothing: begin again with how things are now
    if (!(error instanceof RouterError && error.is("revision_gone"))) throw error;
  }
}
