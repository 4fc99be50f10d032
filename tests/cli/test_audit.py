"""``resroute audit``: the file of the audit log, read whether a router writes it or not."""

import csv
import io
import json
import sqlite3
import time
from pathlib import Path

import pytest

from resroute.audit.file_trail import write_of
from resroute.audit.records import Actor, Entry, Freed, Touched
from resroute.audit.store import NAME, AuditStore
from resroute.ids import Epoch, InstanceId, ResourceId, Revision, ServiceName, SessionId
from resroute.times import read_time
from tests.cli.running import run

NOW = time.time()
BOSS = Actor("ada", SessionId("session-1"), InstanceId("boss"))


def forced(at: float, name: str, reason: str | None = None) -> Entry:
    return Entry(
        at=at,
        revision=Revision(7),
        event="transferred",
        cause="forced",
        actor=BOSS,
        service_name=ServiceName("store"),
        instance_before=InstanceId("owner"),
        instance_after=InstanceId("boss"),
        resources=[Touched(ResourceId(name), Epoch(3), Epoch(7))],
        resource_count=1,
        trace_id="t-1",
        reason=reason,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data_dir whose audit log has four records of the last three hours."""
    store = AuditStore(tmp_path / NAME)
    ended = Entry(
        at=NOW - 2 * 3600,
        revision=Revision(9),
        event="released",
        cause="heartbeat_lost",
        instance_before=InstanceId("gone"),
        about_session_id=SessionId("session-9"),
        resource_count=2500,
    )
    names = [ResourceId(f"r:{number:04}") for number in range(2500)]
    items: list[Entry | Freed] = [
        forced(NOW - 3 * 3600, "doc:1"),
        ended,
        Freed(Revision(9), [Touched(name, Epoch(3)) for name in names]),
        forced(NOW - 1800, "doc:2", "for\x1b[31m good"),
        forced(NOW - 60, "doc:1"),
    ]
    store.write([write_of(item) for item in items])
    store.close()
    return tmp_path


def told(folder: Path, *options: str) -> list[dict[str, object]]:
    done = run("audit", f"--data-dir={folder}", "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_people_read_a_line_for_each_record(folder: Path) -> None:
    done = run("audit", f"--data-dir={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["TIME", "EVENT", "CAUSE", "RESOURCES", "FROM", "TO", "BY", "REASON"]
    assert [line.split()[1] for line in lines] == ["transferred", "released", "transferred", "transferred"]
    assert "r:0000 and 2499 more" in lines[1] and "the router" in lines[1]
    assert "ada (boss)" in lines[2]
    assert "\x1b" not in done.stdout and r"\x1b[31m" in lines[2]


def test_programs_read_an_object_for_each_resource(folder: Path) -> None:
    lines = told(folder)
    assert len(lines) == 2503
    assert {line["resource_id"] for line in lines} == {"doc:1", "doc:2"} | {f"r:{n:04}" for n in range(2500)}
    first = lines[0]
    assert first.pop("at")
    assert first == {
        "id": 1,
        "revision": 7,
        "event": "transferred",
        "cause": "forced",
        "resource_id": "doc:1",
        "service_name": "store",
        "instance_before": "owner",
        "instance_after": "boss",
        "epoch_before": 3,
        "epoch_after": 7,
        "resource_count": 1,
        "actor": {"subject": "ada", "session_id": "session-1", "instance_id": "boss"},
        "trace_id": "t-1",
    }
    assert lines[1].keys().isdisjoint({"actor", "epoch_after", "instance_after", "trace_id", "reason"})


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (("--since=1h",), [3, 4]),
        (("--until=1h", "--event=transferred"), [1]),
        (("--since=10m",), [4]),
        (("--resource=doc:1",), [1, 4]),
        (("--resource=r:2499",), [2]),
        (("--resource=doc:1", "--since=1h"), [4]),
        (("--instance=boss", "--limit=2"), [3, 4]),
        (("--actor=ada", "--limit=1"), [4]),
        (("--actor=nobody",), []),
        (("--cause=heartbeat_lost", "--resource=r:0001"), [2]),
        (("--cause=forced", "--resource=r:0001"), []),
    ],
)
def test_what_is_asked_for_is_shown(folder: Path, options: tuple[str, ...], ids: list[int]) -> None:
    assert [line["id"] for line in told(folder, *options)] == ids


def test_a_spreadsheet_reads_the_same_rows(folder: Path) -> None:
    done = run("audit", f"--data-dir={folder}", "--csv", "--limit=3")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = csv.reader(io.StringIO(done.stdout))
    assert heading[:6] == ["id", "at", "revision", "event", "cause", "resource_id"]
    assert len(rows) == 2502
    told = dict(zip(heading, rows[-2], strict=True))
    assert (told["resource_id"], told["actor_subject"], told["epoch_before"]) == ("doc:2", "ada", "3")
    assert told["reason"] == r"for\x1b[31m good"
    assert run("audit", f"--data-dir={folder}", "--csv", "--json").returncode == 2


def test_where_there_is_nothing_to_show_people_are_told(folder: Path) -> None:
    done = run("audit", f"--data-dir={folder}", "--resource=doc:9")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "There are no records, or none that match.\n"


def test_the_folder_comes_from_the_settings_as_the_routers_does(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f'[resroute]\ndata_dir = "{folder}"\n')
    for done in (
        run("audit", "--limit=1", f"--config={file}"),
        run("audit", "--limit=1", environ={"RESROUTE_DATA_DIR": str(folder)}),
    ):
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)


def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("[resroute]\n")
    done = run("audit", f"--config={tmp_path / 'empty.toml'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"resroute: there is no data_dir in {tmp_path / 'empty.toml'}: give")
    done = run("audit", f"--data-dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr == f"resroute: there is no audit log at {tmp_path / NAME}\n"
    (tmp_path / NAME).write_text("nonsense " * 1000)
    done = run("audit", f"--data-dir={tmp_path}")
    assert done.returncode == 1
    assert "not a database" in done.stderr
    (tmp_path / NAME).unlink()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("CREATE TABLE records (id)")
    connection.close()
    done = run("audit", f"--data-dir={tmp_path}")
    assert (done.returncode, done.stderr) == (1, f"resroute: {tmp_path / NAME} is no audit log\n")


def test_a_file_is_read_where_nothing_can_be_written_beside_it(folder: Path) -> None:
    assert not (folder / f"{NAME}-shm").exists()
    (folder / f"{NAME}-shm").mkdir()  # as SQLite sees a folder that it may not write in
    assert [line["id"] for line in told(folder, "--resource=doc:1")] == [1, 4]


@pytest.mark.parametrize("text", ["yesterday", "1y", "-1h", "2026-11-26T09:30:00", "2026-13-01", "h", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    done = run("audit", f"--since={text}")
    assert done.returncode == 2
    assert "--since" in done.stderr and len(done.stderr.splitlines()) == 1


def test_times_are_points_or_spans() -> None:
    assert read_time("2026-11-26T09:30:00Z") == read_time("2026-11-26T10:30:00+01:00") == 1795685400.0
    assert read_time("2026-11-26") == 1795651200.0
    for text, seconds in (("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172_800), ("1w", 604_800)):
        assert abs(time.time() - seconds - read_time(text)) < 5
