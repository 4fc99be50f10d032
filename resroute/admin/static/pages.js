// Keeps what a page shows up to date, and finds while somebody types. Without this the pages work all the same.

const DELAY_MS = 250;

/** The page at an address, or null if there is none to be had now. Who is no longer logged in is sent to log in. */
async function fetchPage(address, signal) {
  let response;
  try {
    response = await fetch(address, { headers: { Accept: "text/html" }, signal });
  } catch {
    return null;
  }
  if (response.redirected && new URL(response.url).pathname === "/login") {
    location.reload();
    return null;
  }
  if (response.status >= 500) return null;
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function tellStale(isStale) {
  let note = document.getElementById("stale");
  if (isStale && !note) {
    note = document.createElement("p");
    note.id = "stale";
    note.className = "banner";
    note.setAttribute("role", "status");
    note.textContent = "The router does not answer: this page is as it was.";
    document.getElementById("main").before(note);
  } else if (!isStale && note) {
    note.remove();
  }
}

/** Whether somebody is in the middle of something there. */
function isBusy(part) {
  const selection = getSelection();
  return part.contains(document.activeElement) || (!selection.isCollapsed && part.contains(selection.anchorNode));
}

/** Has the parts that say so fetched anew now and then. Returns what does it at once. */
function refreshParts() {
  const parts = [...document.querySelectorAll("[data-refresh]")];
  if (!parts.length) return () => {};
  const seconds = Math.min(...parts.map((part) => Number(part.dataset.refresh)));
  const address = new URL(location.href);
  address.searchParams.delete("said");
  let isRunning = false;
  let isWanted = false;

  async function refresh() {
    isWanted = isRunning;
    if (isRunning) return;
    isRunning = true;
    const page = await fetchPage(address);
    isRunning = false;
    tellStale(page === null);
    const fresh = page ? [...page.querySelectorAll("[data-refresh]")] : [];
    if (fresh.length === parts.length) {
      parts.forEach((part, index) => {
        if (!("live" in part.dataset) && !isBusy(part)) part.replaceChildren(...fresh[index].childNodes);
      });
    }
    if (isWanted && page) await refresh();
  }

  setInterval(() => document.hidden || refresh(), seconds * 1000);
  return refresh;
}

/**
 * Listens to a stream of events while somebody sees the page: browsers have few connections for all windows together.
 * @param address where it is.
 * @param listeners by the name of the event that each is for.
 */
function listen(address, listeners) {
  let source = null;
  function open() {
    if (document.hidden || source) return;
    source = new EventSource(address);
    for (const [name, listener] of Object.entries(listeners)) source.addEventListener(name, listener);
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return open();
    source?.close();
    source = null;
  });
  open();
}

/** Shows what a stream says of a part as soon as it says it. Whenever it is silent, the part is fetched as others are. */
function showAsItHappens(part) {
  listen(part.dataset.stream, {
    [part.dataset.event]({ data }) {
      part.dataset.live = "";
      if (isBusy(part)) return;
      part.replaceChildren(...new DOMParser().parseFromString(data, "text/html").body.childNodes);
    },
    error: () => delete part.dataset.live,
  });
}

function searchWhileTyping(form) {
  const target = document.getElementById(form.dataset.search);
  let timer = 0;
  let running = new AbortController();
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      running.abort();
      running = new AbortController();
      const given = [...new FormData(form)].filter(([, value]) => value !== "");
      const query = new URLSearchParams(given).toString();
      const address = form.action + (query ? `?${query}` : "");
      const { signal } = running;
      const page = await fetchPage(address, signal);
      const found = page && page.getElementById(form.dataset.search);
      if (!found || signal.aborted) return;
      target.replaceChildren(...found.childNodes);
      history.replaceState(null, "", address);
    }, DELAY_MS);
  });
}

/** Has one box select all that are shown, and says how many are. */
function countSelected() {
  document.addEventListener("change", ({ target }) => {
    const form = target.form;
    if (target.type !== "checkbox" || !form) return;
    const boxes = [...form.querySelectorAll("[name=resource_id]")];
    if ("selectAll" in target.dataset) boxes.forEach((box) => (box.checked = target.checked));
    const count = boxes.filter((box) => box.checked).length;
    form.querySelector("[data-select-all]").checked = count === boxes.length;
    form.querySelector("[data-selected]").textContent = count ? `(${count})` : "";
  });
}

function forgetWhatWasSaid() {
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    history.replaceState(null, "", address);
  }
}

document.documentElement.classList.add("scripted");
document.querySelector("header [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
forgetWhatWasSaid();
countSelected();
const refresh = refreshParts();
document.querySelectorAll("[data-stream]").forEach(showAsItHappens);
document.querySelectorAll("[data-changes]").forEach((part) => listen(part.dataset.changes, { changes: refresh }));
document.querySelectorAll("form[data-search]").forEach(searchWhileTyping);
