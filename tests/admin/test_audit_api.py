"""The audit log over HTTP: pages, and all of it as CSV or JSON lines."""

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trio

from resroute.audit.file_trail import FileTrail
from resroute.audit.memory import MAX_LOOKED
from resroute.audit.store import NAME
from resroute.audit.trail import MemoryTrail, Trail
from tests.admin.asking import Json, Place, open_place


@pytest.fixture(params=["memory", "file"])
def trail(request: Any, tmp_path: Path) -> Trail:
    return MemoryTrail() if request.param == "memory" else FileTrail(str(tmp_path), lambda: 1_700_000_000.0)


async def release(place: Place, *names: str) -> Json:
    answer = await place.client.ask("POST", "/api/v1/resources/release", {"resource_ids": list(names)})
    told: Json = answer.result()
    return told


async def wait_written(place: Place, count: int) -> list[Json]:
    """The records, once there are so many: a file is written a moment later."""
    while True:
        told = await place.client.get("/api/v1/audit")
        if len(told["records"]) >= count:
            records: list[Json] = told["records"]
            return records
        await trio.sleep(0.05)


async def test_what_an_administrator_did_is_told_with_who_it_was(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        await place.instance("ada", "a", "b")
        assert (await place.client.get("/api/v1/audit"))["records"] == []
        done = await release(place, "a", "b")
        [record] = await wait_written(place, 1)
        assert (record["event"], record["cause"]) == ("released", "admin")
        assert record["actor"]["subject"] == "anonymous"
        assert record["trace_id"] == done["trace_id"]
        assert [it["resource_id"] for it in record["resources"]] == ["a", "b"]
        assert "epoch_after" not in record["resources"][0]
        assert record["instance_before"] == "ada"


async def test_pages_follow_each_other_in_either_order(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        await place.instance("ada", *"abcde")
        for name in "abcde":
            await release(place, name)
        await wait_written(place, 5)
        for order, expected in (("true", "edcba"), ("false", "abcde")):
            names, cursor = "", ""
            while True:
                path = f"/api/v1/audit?limit=2&newest_first={order}{cursor}"
                page = await place.client.get(path)
                assert len(page["records"]) <= 2
                names += "".join(it["resources"][0]["resource_id"] for it in page["records"])
                if "next_cursor" not in page:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            assert names == expected


async def test_records_are_found_by_what_they_are_about(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        await place.instance("ada", "a", "b")
        await release(place, "a")
        await release(place, "b")
        await wait_written(place, 2)

        async def count(query: str) -> int:
            return len((await place.client.get(f"/api/v1/audit?{query}"))["records"])

        assert await count("resource_id=a") == 1
        assert await count("actor=anonymous") == 2
        assert await count("actor=bob") == 0
        assert await count("instance_id=ada&event=released&cause=admin") == 2
        assert await count("event=transferred") == 0
        assert await count("since=2020-01-01") == 2
        assert await count("until=2020-01-01T00:00:00Z") == 0


async def test_all_of_it_is_exported_a_row_for_each_resource(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        names = [f"r:{number:04}" for number in range(300)]
        await place.instance("ada", "=a", *names)
        await release(place, "=a")
        await release(place, *names)
        await wait_written(place, 2)

        answer = await place.client.ask("GET", "/api/v1/audit/export")
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert [line["resource_id"] for line in lines] == ["=a", *names]
        assert {line["actor"]["subject"] for line in lines} == {"anonymous"}

        answer = await place.client.ask("GET", "/api/v1/audit/export?format=csv&cause=admin")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["resource_id"] for row in rows] == ["'=a", *names]  # no formula for a spreadsheet
        assert rows[1]["actor_subject"] == "anonymous"

        answer = await place.client.ask("GET", "/api/v1/audit/export?resource_id=r:0007")
        assert [json.loads(line)["resource_id"] for line in answer.text.splitlines()] == ["r:0007"]


@pytest.mark.parametrize(
    "reason",
    ["=1+1", "+1", "-1", "@SUM(1)", "\t=1+1", "\n=1+1", "\r\n=1+1", "  =1+1", "\u3000=1+1", "\uff1d1+1"],
)
async def test_nothing_that_somebody_wrote_is_a_formula_in_a_spreadsheet(trail: Trail, reason: str) -> None:
    async with open_place(trail=trail) as place:
        await place.instance("ada", "a")
        await place.instance("bob")
        body = {"resource_ids": ["a"], "from_instance_id": "ada", "to_instance_id": "bob", "reason": reason}
        (await place.client.ask("POST", "/api/v1/resources/transfer", body)).result()
        await wait_written(place, 1)
        answer = await place.client.ask("GET", "/api/v1/audit/export?format=csv")
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [row["reason"] for row in rows] == ["'" + reason]


async def test_an_export_may_be_of_the_newest_records_only(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        names = [f"r:{number:03}" for number in range(120)]
        await place.instance("ada", *names)
        for name in names:
            await release(place, name)
        while True:
            if len((await place.client.get("/api/v1/audit?limit=1000"))["records"]) == len(names):
                break
            await trio.sleep(0.05)
        for limit in (1, 49, 50, 51, 119, 120, 500):
            answer = await place.client.ask("GET", f"/api/v1/audit/export?limit={limit}")
            told = [json.loads(line)["resource_id"] for line in answer.text.splitlines()]
            assert told == names[-limit:], limit
        for text in ("0", "-1", "x", str(2**70)):
            answer = await place.client.ask("GET", f"/api/v1/audit/export?limit={text}")
            assert answer.problem_type() == (400, "invalid_params")


async def test_an_export_of_nothing_is_empty(trail: Trail) -> None:
    async with open_place(trail=trail) as place:
        assert (await place.client.ask("GET", "/api/v1/audit/export")).body == b""
        head = await place.client.ask("HEAD", "/api/v1/audit/export?format=csv")
        assert (head.status, head.body) == (200, b"")
        assert (await place.client.ask("GET", "/api/v1/audit/export?format=csv")).text.startswith("id,at,")


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=-1", "cursor"),
        ("cursor=9223372036854775808", "cursor"),
        ("cursor=x", "cursor"),
        ("since=yesterday", "since"),
        ("since=9999999999w", "since"),
        ("until=2026-11-26T09:30:00", "until"),
        ("until=", "until"),
        ("event=happened", "event"),
        ("cause=%00", "cause"),
        ("resource_id=/", "resource_id"),
        ("newest_first=1", "newest_first"),
        ("actor=a&actor=b", "actor"),
        ("format=xml", "format"),
    ],
)
async def test_a_wrong_parameter_is_named(query: str, wrong: str) -> None:
    async with open_place() as place:
        answer = await place.client.ask("GET", f"/api/v1/audit?{query}")
        assert answer.problem_type() == (400, "invalid_params")
        assert [error["path"] for error in answer.problem()["errors"]] == [wrong]


async def test_an_audit_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
    other.close()
    trail = FileTrail(str(tmp_path), lambda: 1_700_000_000.0)
    async with open_place(trail=trail) as place:
        answer = await place.client.ask("GET", "/api/v1/audit")
        assert answer.problem_type() == (503, "about:blank")


async def test_a_log_of_many_records_is_looked_through_a_part_at_a_time() -> None:
    trail = MemoryTrail()
    async with open_place(trail=trail) as place:
        await place.instance("ada", "first", "other")
        await release(place, "first")
        await release(place, "other")
        for _ in range(2 * MAX_LOOKED):
            trail.store.write(trail.store._records[2].entry)
        told = await place.client.get("/api/v1/audit?limit=10&resource_id=first")
        assert [it["id"] for it in told["records"]] == [1]
        told = await place.client.get("/api/v1/audit?limit=1000&resource_id=other&newest_first=false")
        assert [it["id"] for it in told["records"]] == list(range(2, 1002))
