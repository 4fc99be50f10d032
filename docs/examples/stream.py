from collections.abc import AsyncIterator

import trio

from resroute import current_call, open_client

URL = "ws://127.0.0.1:8765/"
TITLES = ["Emma", "Faust", "Hamlet", "Hedda Gabler", "Momo"]


class Library:
    async def search(self, letter: str) -> AsyncIterator[str]:
        """Each title as soon as it is found: what an async generator yields is progress."""
        try:
            for title in TITLES:
                await trio.sleep(0.05)
                if title.startswith(letter):
                    yield title
        finally:
            print("searched for", letter)  # also when the caller has enough

    async def count(self) -> int:
        """Progress on the way to a result."""
        for title in TITLES:
            await current_call().progress(title)
        return len(TITLES)


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("library", Library()) as instance:
            await instance.register("library:1")

            async with theirs.open_stream("search", {"letter": "H"}, resource_id="library:1") as chunks:
                async for title in chunks:
                    print(title)

            async with theirs.open_stream("search", {"letter": "E"}, resource_id="library:1") as chunks:
                async for title in chunks:
                    print(title, "is enough")
                    break

            async with theirs.open_stream("count", resource_id="library:1") as chunks:
                async for title in chunks:
                    print("read", title)
            print(chunks.result, "books")


trio.run(main)
