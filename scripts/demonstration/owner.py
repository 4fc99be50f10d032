"""An instance of the service `documents`: it keeps documents in memory, and owns their ids while it runs.

``python -m demonstration.owner URL INSTANCE_ID RESOURCE_ID...``; it says "ready", and leaves at SIGTERM.
"""

import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import trio

from resroute import Instance, ResourceConflict, ResrouteError, current_call, open_client


class Documents:
    """The methods that others call. Those of a document are called by its id, and find it in `current_call()`."""

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self._at_work = 0
        self._lines: dict[str | None, list[str]] = {}

    def append(self, text: str) -> dict[str, Any]:
        """Add a line to a document."""
        lines = self._lines.setdefault(current_call().resource_id, [])
        lines.append(text)
        return {"lines": len(lines), "by": self._instance_id}

    def read(self) -> list[str]:
        """All lines of a document."""
        return self._lines.get(current_call().resource_id, [])

    async def print(self) -> str:
        """Something that takes its time."""
        self._at_work += 1
        try:
            await trio.sleep(60)
        finally:
            self._at_work -= 1
        return "printed"

    def at_work(self) -> int:
        """How many documents are being printed. Called by the instance's own id."""
        return self._at_work

    async def take(self, resource_ids: Sequence[str], patiently: bool = False) -> dict[str, Any]:
        """Become the owner of documents. Called by the instance's own id.

        Args:
            patiently: try until nobody else owns any of them.
        """
        assert self.instance is not None
        while True:
            try:
                registered = await self.instance.register(*resource_ids)
            except ResourceConflict as conflict:
                if not patiently:
                    return {"refused": str(conflict), "code": conflict.code, "type": conflict.type}
            else:
                # a monotonic clock is the same in all processes of a machine
                return {"epochs": registered.epochs, "at": time.monotonic()}

    @property
    def _instance_id(self) -> str:
        return self.instance.instance_id if self.instance is not None else ""


async def main(url: str, instance_id: str, *resource_ids: str) -> None:
    """Own documents until told to leave, or the connection ends."""
    documents = Documents()
    async with open_client(url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(_leave_at_signal, nursery.cancel_scope)
        async with client.open_instance("documents", documents, instance_id=instance_id) as instance:
            documents.instance = instance
            await instance.register(f"instance:{instance_id}", *resource_ids)
            print("ready", flush=True)
            raise await client.wait_closed()


async def _leave_at_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(aiter(signals))
        scope.cancel()


if __name__ == "__main__":
    try:
        trio.run(lambda: main(*sys.argv[1:]))
    except* ResrouteError as group:
        sys.exit(f"it has left: {group.exceptions[0]}")
