import trio

from resroute import Client, current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Store:
    """Stands for a database: it remembers the highest epoch of each document."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, str]] = {}

    def write(self, document: str, epoch: int, text: str) -> str:
        if epoch < self._rows.get(document, (0, ""))[0]:
            return "refused: a later owner has written already"
        self._rows[document] = epoch, text
        return "written"


class Documents:
    def __init__(self, store: Store, thinking_seconds: float) -> None:
        self._store = store
        self._thinking_seconds = thinking_seconds

    async def save(self, text: str) -> None:
        call = current_call()
        with trio.CancelScope(shield=True):  # it does not notice that it lost the document
            await trio.sleep(self._thinking_seconds)
            print(text, self._store.write(call.resource_id, call.epoch, text))


async def main() -> None:
    store = Store()
    async with (
        trio.open_nursery() as nursery,
        open_client(URL) as caller,
        open_client(URL) as new,
        new.open_instance("documents", Documents(store, 0)) as successor,
        open_client(URL) as old,
        old.open_instance("documents", Documents(store, 1)) as first,
    ):
        await first.register("doc:1")
        nursery.start_soon(save_slowly, caller)
        await trio.sleep(0.1)
        await first.release("doc:1")
        await successor.register("doc:1")
        await caller.call("save", {"text": "new text:"}, resource_id="doc:1")


async def save_slowly(caller: Client) -> None:
    await caller.call("save", {"text": "old text:"}, resource_id="doc:1")


trio.run(main)
