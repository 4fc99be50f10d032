import sys

import trio

from resroute import current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def append(self, text: str) -> int:
        lines = self._lines.setdefault(current_call().resource_id, [])
        lines.append(text)
        return len(lines)

    def read(self) -> list[str]:
        return self._lines.get(current_call().resource_id, [])


async def main(instance_id: str, *resource_ids: str) -> None:
    async with (
        open_client(URL) as client,
        client.open_instance("documents", Documents(), instance_id=instance_id) as instance,
    ):
        await instance.register(*resource_ids)
        print(instance.instance_id, "owns", *instance.resources, flush=True)
        await instance.serve_until_stopped()


trio.run(main, *sys.argv[1:])
