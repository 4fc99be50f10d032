import trio

from resroute import current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def __init__(self) -> None:
        self.stopped = trio.Event()

    async def index(self) -> None:
        print(f"{current_call().timeout_seconds:.1f} seconds left")
        try:
            await trio.sleep(10)
        finally:
            print("the owner stopped working on it")
            self.stopped.set()


async def main() -> None:
    documents = Documents()
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", documents) as instance:
            await instance.register("doc:1")
            with trio.move_on_after(0.5) as scope:
                await theirs.call("index", resource_id="doc:1")
            await documents.stopped.wait()
            print("the caller gave up:", scope.cancelled_caught)


trio.run(main)
