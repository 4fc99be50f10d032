import trio

from resroute import Acquired, OwnedCall, Releasing, Service, StaleEpoch, open_client

URL = "ws://127.0.0.1:8765/"


class Store:
    """Stands for a database that looks at epochs. Saving takes time, so not every line is saved."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, list[str]]] = {}

    def load(self, document: str) -> list[str]:
        return self._rows.get(document, (0, []))[1].copy()

    def save(self, document: str, epoch: int, lines: list[str]) -> None:
        if epoch < self._rows.get(document, (0, []))[0]:
            raise StaleEpoch
        self._rows[document] = epoch, lines.copy()


def editor(name: str, store: Store) -> Service:
    """One instance: it alone writes the documents that it owns, and has their lines in memory."""
    service = Service()
    documents: dict[str, list[str]] = {}

    @service.after_acquire
    def open_document(acquired: Acquired) -> None:
        lines = (
            acquired.state
        )  # there is none if the last owner was cut off: then what was saved is what there is
        documents[acquired.resource_id] = store.load(acquired.resource_id) if lines is None else lines
        print(name, "opens it with", len(documents[acquired.resource_id]), "lines")

    @service.before_release
    def close_document(releasing: Releasing) -> list[str]:
        return documents.pop(releasing.resource_id)

    @service.fenced
    def append(call: OwnedCall, text: str) -> int:
        documents[call.resource_id].append(text)
        return len(documents[call.resource_id])

    @service.fenced
    def save(call: OwnedCall) -> None:
        store.save(call.resource_id, call.epoch, documents[call.resource_id])

    return service


async def main() -> None:
    store = Store()
    async with (
        open_client(URL) as here,
        open_client(URL) as there,
        open_client(URL) as caller,
        here.open_instance("editors", editor("here", store)) as first,
        there.open_instance("editors", editor("there", store)) as second,
    ):
        await first.register("doc:1")
        await caller.call("append", ["Once upon a time"], resource_id="doc:1")
        await caller.call("save", resource_id="doc:1")
        await caller.call("append", ["there was a router"], resource_id="doc:1")

        before = first.resources["doc:1"]
        await first.transfer("doc:1", to=second.instance_id, reason="closer to its readers")
        print(await caller.call("append", ["that gave nothing away"], resource_id="doc:1"), "lines now")

        await caller.call("save", resource_id="doc:1")
        try:
            store.save("doc:1", before, ["what its earlier owner still had in hand"])
        except StaleEpoch:
            print("its earlier owner cannot write any more")


trio.run(main)
