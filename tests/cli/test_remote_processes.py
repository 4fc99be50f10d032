"""Commands at the admin API of a router in a process of its own: TLS, connections that break, routers that die."""

import json
import signal
from pathlib import Path

import pytest
import trio
import trustme

from resroute import open_client
from resroute.client import Call
from tests.cli.running import Serving, open_program, open_serve
from tests.processes.proxy import open_proxy

TOKEN = "s3cr3t-t0ken-of-ada"


def certify(folder: Path, name: str) -> tuple[list[str], Path]:
    """Options for a router with a certificate, and the file of who has signed it."""
    authority = trustme.CA()
    issued = authority.issue_cert(name)
    issued.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    (folder / "router.toml").write_text(
        "[resroute]\n"
        f'admin_tokens = ["ada:{TOKEN}"]\n'
        f'admin_tls_certificate_file = "{folder / "certificate.pem"}"\n'
        f'admin_tls_key_file = "{folder / "key.pem"}"\n'
    )
    return [f"--config={folder / 'router.toml'}"], folder / "authority.pem"


async def ask(serving: Serving, folder: Path, url: str, **environ: str) -> tuple[int, str, str]:
    """List instances. Returns the exit code and what was printed."""
    arguments = ("ls", "instances", f"--url={url}", f"--token-file={folder / 'token'}")
    async with open_program(*arguments, **environ) as program:
        code = await program.wait_ended()
        return code, program.stdout, program.stderr


async def test_over_tls_the_certificate_counts(tmp_path: Path) -> None:
    options, authority = certify(tmp_path, "127.0.0.1")
    async with open_serve(*options) as serving:
        url = serving.admin_url
        assert url.startswith("https://")
        code, said, wrong = await ask(serving, tmp_path, url, SSL_CERT_FILE=str(authority))
        assert (code, said, wrong) == (0, "", "There are no instances, or none that match.\n")
        code, said, wrong = await ask(serving, tmp_path, url)
        assert (code, said, wrong.count("\n")) == (7, "", 1)
        assert "no TLS: certificate verify failed: " in wrong
        code, said, wrong = await ask(
            serving, tmp_path, url.replace("127.0.0.1", "localhost"), SSL_CERT_FILE=str(authority)
        )
        assert (code, wrong.count("\n")) == (7, 1)
        assert "certificate verify failed: Hostname mismatch" in wrong
        code, said, wrong = await ask(serving, tmp_path, url.replace("https:", "http:"))
        assert (code, wrong.count("\n"), "TLS is spoken here" in wrong) == (7, 1, True)
        assert TOKEN not in said + wrong


def answer(_call: Call) -> None:
    pass


async def test_a_watch_misses_nothing_where_its_connection_breaks() -> None:
    async with open_serve() as serving, open_client(serving.url) as client:
        port = int(serving.admin_url.rstrip("/").rpartition(":")[2])
        async with (
            client.open_instance("documents", answer, instance_id="docs-1") as instance,
            open_proxy(port) as proxy,
        ):
            url = proxy.url.replace("ws:", "http:")
            async with open_program("watch", "--json", "--prefix=doc:", f"--url={url}") as program:
                while not program.stdout:  # it may not watch yet
                    await instance.register("doc:first")
                    await instance.release("doc:first")
                    await trio.sleep(0.05)
                for number in range(3):
                    await instance.register(f"doc:{number}")
                    await proxy.drop()
                    await instance.release(f"doc:{number}")
                    await program.wait_said(f'"released","resource":{{"resource_id":"doc:{number}"')
                program.signal(signal.SIGTERM)
                assert await program.wait_ended() == 0
    told = [json.loads(line) for line in program.stdout.splitlines()]
    names = [(it["event"], it["resource"]["resource_id"]) for it in told]
    expected = [(event, f"doc:{number}") for number in range(3) for event in ("registered", "released")]
    assert [it for it in names if it[1] != "doc:first"] == expected
    assert len({it["revision"] for it in told}) == len(told)
    assert "trying to go on from there" in program.stderr
    assert "--from-revision" in program.stderr


async def test_a_call_whose_router_dies_may_have_run() -> None:
    was_called = trio.Event()

    async def hang(_call: Call) -> None:
        was_called.set()
        await trio.sleep_forever()

    async with open_serve() as serving, open_client(serving.url, reconnect=None) as client:
        async with client.open_instance("documents", hang) as instance:
            await instance.register("doc:1")
            arguments = ("call", "get", "--resource=doc:1", f"--url={serving.admin_url}")
            async with open_program(*arguments) as program:
                await was_called.wait()
                serving.program.signal(signal.SIGKILL)
                assert await program.wait_ended() == 5
            assert program.stderr.endswith("; the call may have run\n")
            assert program.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_watch_that_has_no_connection(number: signal.Signals) -> None:
    async with open_serve() as serving, open_program("watch", f"--url={serving.admin_url}") as program:
        await program.wait_said("CAUSE")
        serving.program.signal(signal.SIGKILL)
        await program.wait_said("trying to go on")
        program.signal(number)
        assert await program.wait_ended() == 0


async def test_a_router_that_was_started_anew_has_forgotten_what_was_to_be_told(tmp_path: Path) -> None:
    async with open_program("serve", "--port=0", "--admin-port=0") as first:
        url = (await first.wait_said(r"admin pages on (http://\S+)\)"))[1]
        port = url.rstrip("/").rpartition(":")[2]
        async with open_program("watch", f"--url={url}") as program:
            await program.wait_said("CAUSE")
            first.signal(signal.SIGKILL)
            await first.wait_ended()
            async with open_program("serve", "--port=0", f"--admin-port={port}") as second:
                await second.wait_said("admin pages on")
                assert await program.wait_ended() == 4
            assert "changes are remembered from" in program.stderr
