// Shows what becomes of resources as it happens. The browser connects again by itself, and goes on where it was.

const MAX_ROWS = 300;

const state = document.getElementById("live-state");
const rows = document.getElementById("live-rows");

function tell(text) {
  if (state.textContent !== text) state.textContent = text;
}

function link(path, id) {
  const anchor = document.createElement("a");
  anchor.className = "id";
  anchor.href = `${path}?${new URLSearchParams({ id })}`;
  anchor.textContent = id;
  return anchor;
}

function cell(content, name) {
  const made = document.createElement("td");
  if (name) made.className = name;
  if (content) made.append(content);
  return made;
}

function show(change, revision) {
  const row = document.createElement("tr");
  row.className = "flash";
  const { event, resource, previous_owner: before, cause } = change;
  const isOwned = event !== "released" && event !== "expired";
  row.append(
    cell(new Date().toISOString().slice(0, 19).replace("T", " "), "time"),
    cell(event),
    cell(link("/resource", resource.resource_id)),
    cell(isOwned ? link("/instance", resource.owner_instance_id) : ""),
    cell(before ? link("/instance", before) : isOwned ? "" : link("/instance", resource.owner_instance_id)),
    cell(cause),
    cell(String(revision), "number"),
  );
  document.getElementById("live-nothing")?.remove();
  rows.prepend(row);
  while (rows.childElementCount > MAX_ROWS) rows.lastElementChild.remove();
}

function note(text) {
  const row = document.createElement("tr");
  const made = cell(text);
  made.colSpan = 7;
  row.append(made);
  rows.prepend(row);
  return row;
}

tell("Connecting …");
if (!rows.childElementCount) note("Nothing has changed yet.").id = "live-nothing";
const source = new EventSource(state.dataset.events);
source.addEventListener("watching", () => tell("Every change shows here as it happens, the latest on top."));
source.addEventListener("changes", (message) => {
  const { events, revision } = JSON.parse(message.data);
  for (const change of events) show(change, revision);
});
source.addEventListener("gone", () => note("Changes are missing here: they are no longer kept."));
source.addEventListener("closing", () => tell("The router stops."));
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) tell("The connection has ended: load this page again.");
  else tell("The connection was lost. Connecting again …");
});
