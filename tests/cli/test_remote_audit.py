"""``resroute audit`` at an admin API shows what it shows of the file."""

import json
from pathlib import Path

import pytest
import trio

from resroute import open_client
from resroute.cli.auditing import Form, show_audit_log
from resroute.cli.auditing_remote import show_remote_audit_log
from resroute.cli.releasing import release_resources
from resroute.cli.remote.results import AuditFilters
from tests.cli.running import never, open_program, open_serve
from tests.cli.test_explain import answer

FORMS: tuple[Form, ...] = ("table", "json", "csv")


async def printed(*arguments: str, code: int = 0) -> str:
    async with open_program(*arguments) as program:
        assert await program.wait_ended() == code, program.stderr
        return program.stdout + program.stderr


FILTERS: tuple[tuple[AuditFilters, int | None], ...] = (
    (AuditFilters(), None),
    (AuditFilters(), 2),
    (AuditFilters(event="released", cause="admin", actor="anonymous"), 100),
    (AuditFilters(resource_id="doc:29"), None),
    (AuditFilters(since="1h", until="2099-01-01"), None),
    (AuditFilters(instance_id="nobody"), None),
)


async def test_a_routers_log_is_the_same_from_its_file_and_from_its_api(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        open_serve(f"--data-dir={tmp_path}") as serving,
        open_client(serving.url) as client,
        client.open_instance("docs", answer, instance_id="docs-1") as instance,
    ):
        url = serving.admin_url
        names = [f"doc:{number}" for number in range(30)]
        await instance.register(*names)
        for released in ([names[0]], [names[1]], [names[2]], names[3:]):
            assert await release_resources(url, released, never(), partial=False, as_json=False) == 0
        capsys.readouterr()
        with trio.fail_after(20):
            while capsys.readouterr().out.count("\n") < len(names):
                await trio.sleep(0.1)
                show_audit_log(str(tmp_path), AuditFilters(), limit=None, form="json")
        for filters, limit in FILTERS:
            for form in FORMS:
                assert show_audit_log(str(tmp_path), filters, limit=limit, form=form) == 0
                of_file = capsys.readouterr()
                assert await show_remote_audit_log(url, filters, never(), limit=limit, form=form) == 0
                assert capsys.readouterr() == of_file, (filters, limit, form)
        async with open_program("audit", "--json", "--limit=1", f"--url={url}") as program:
            assert await program.wait_ended() == 0
        rows = [json.loads(line) for line in program.stdout.splitlines()]
        assert [row["resource_id"] for row in rows] == sorted(names[3:])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--data-dir=/tmp", "--url=http://a/"), "A file, or a router: not both."),
        (("--config=a.toml", "--profile=a"), "A file, or a router: not both."),
        (
            ("--url=ws://127.0.0.1:1/",),
            "leads to the router's own port, and this is to be had at its admin API only",
        ),
        (("--json", "--csv"), "--json or --csv: not both."),
        (("--cause=x",), "'--cause'"),
    ],
)
async def test_mistakes_are_told_in_a_line(arguments: tuple[str, ...], line: str) -> None:
    assert line in await printed("audit", *arguments, code=2)


async def test_without_a_router_there_is_no_connection() -> None:
    assert "connection refused" in await printed("audit", "--url=http://127.0.0.1:1/", code=7)
    assert "connection refused" in await printed("settings", "--url=http://127.0.0.1:1/", code=7)
