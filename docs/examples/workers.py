import trio

from resroute import open_client

URL = "ws://127.0.0.1:8765/"


class Renderer:
    def __init__(self, name: str) -> None:
        self._name = name

    async def render(self, page: int) -> str:
        await trio.sleep(0.2)
        return f"page {page} by {self._name}"


async def main() -> None:
    async with open_client(URL) as one, open_client(URL) as two, open_client(URL) as caller:
        async with (
            one.open_instance("renderer", Renderer("one")),
            two.open_instance("renderer", Renderer("two"), max_concurrency=1),
        ):
            pages: dict[int, str] = {}

            async def render(page: int) -> None:
                pages[page] = await caller.call("render", {"page": page}, service_name="renderer")

            async with trio.open_nursery() as nursery:
                for page in (1, 2, 3):
                    nursery.start_soon(render, page)
            print(sorted(text.split(" by ")[1] for text in pages.values()))


trio.run(main)
