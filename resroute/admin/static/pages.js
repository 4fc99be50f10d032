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

function refreshParts() {
  const parts = [...document.querySelectorAll("[data-refresh]")];
  if (!parts.length) return;
  const seconds = Math.min(...parts.map((part) => Number(part.dataset.refresh)));
  const address = new URL(location.href);
  address.searchParams.delete("said");
  setInterval(async () => {
    if (document.hidden) return;
    const page = await fetchPage(address);
    tellStale(page === null);
    const fresh = page ? [...page.querySelectorAll("[data-refresh]")] : [];
    if (fresh.length !== parts.length) return;
    parts.forEach((part, index) => {
      if (!isBusy(part)) part.replaceChildren(...fresh[index].childNodes);
    });
  }, seconds * 1000);
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

function forgetWhatWasSaid() {
  const address = new URL(location.href);
  if (address.searchParams.has("said")) {
    address.searchParams.delete("said");
    history.replaceState(null, "", address);
  }
}

forgetWhatWasSaid();
refreshParts();
document.querySelectorAll("form[data-search]").forEach(searchWhileTyping);
