"""The JavaScript SDK in Node.js, over TLS."""

import os
from pathlib import Path

import pytest
import trio
import trustme

from tests.docs.running import open_router
from tests.interop.node import Node
from tests.javascript.programs import HERE, websocket_options


async def connect(node: Node, websocket: str, folder: Path, *, is_trusted: bool) -> str:
    """What the program says that connects, with the WebSocket of Node.js (``node``) or of the package ``ws``."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    (authority if is_trusted else trustme.CA()).cert_pem.write_to_path(folder / "authorities.pem")
    environment = {
        **os.environ,
        "NODE_EXTRA_CA_CERTS": str(folder / "authorities.pem"),
        "RESROUTE_TEST_WEBSOCKET": websocket,
    }
    program = [node.program, *websocket_options(node), "--no-warnings", str(HERE / "over-tls.mjs")]
    with trio.fail_after(60):
        async with open_router() as url:
            port = url.rstrip("/").rsplit(":", 1)[1]
            files = [str(folder / "key.pem"), str(folder / "certificate.pem")]
            done = await trio.run_process([*program, port, *files], capture_stdout=True, env=environment)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("websocket", ["node", "ws"])
async def test_over_tls_it_is_all_the_same(node: Node, websocket: str, tmp_path: Path) -> None:
    assert await connect(node, websocket, tmp_path, is_trusted=True) == "connected"


async def test_a_certificate_that_is_not_good_is_told_at_once(node: Node, tmp_path: Path) -> None:
    """By the package ``ws``, that is; the WebSocket of Node.js does not say why."""
    said = await connect(node, "ws", tmp_path, is_trusted=False)
    assert said.startswith("ConnectionFailed: wss://127.0.0.1:")
    assert "unable to verify the first certificate" in said or "self-signed certificate" in said
