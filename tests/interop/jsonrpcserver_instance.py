"""A plain instance that answers with ``jsonrpcserver``, which refuses members that JSON-RPC does not know.

Run by the interpreter of :mod:`tests.interop.environment`: ``jsonrpcserver_instance.py URL SERVICE RESOURCE_ID``.
"""

import json
import sys
from typing import Any

from jsonrpcserver import Error, Result, Success, dispatch, method  # type: ignore[import-not-found]
from websockets.sync.client import connect

NOTES: list[str] = []


@method  # type: ignore[untyped-decorator]
def subtract(minuend: int, subtrahend: int) -> Result:
    """By position or by name."""
    return Success(minuend - subtrahend)


@method  # type: ignore[untyped-decorator]
def fail(page: int) -> Result:
    """An error of its own."""
    return Error(7, "no such page", {"page": page})


@method  # type: ignore[untyped-decorator]
def note(text: str) -> Result:
    """A notification, which has no answer."""
    NOTES.append(text)
    return Success()


@method  # type: ignore[untyped-decorator]
def notes() -> Result:
    """What was noted."""
    return Success(NOTES)


def main(url: str, service_name: str, resource_id: str) -> None:
    """Register, and answer what comes."""
    with connect(url) as connection:

        def ask(number: int, name: str, **params: Any) -> None:
            connection.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": name, "params": params}))
            assert "result" in json.loads(connection.recv())

        ask(1, "instance.register", service_name=service_name, plain=True)
        ask(2, "resource.register", resource_ids=[resource_id])
        print("ready", flush=True)
        for request in connection:
            answer = dispatch(request)
            if answer:
                connection.send(answer)


main(*sys.argv[1:])
