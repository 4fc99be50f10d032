"""Revisions never run backwards over restarts, even when the clock does."""

from pathlib import Path

import pytest
import trio

from resroute.cluster.ceiling import CannotKeep, RevisionCeiling


async def test_a_new_run_begins_above_every_revision_of_the_run_before(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    first = RevisionCeiling(str(tmp_path / "data"))
    assert first.value == 0
    revision = 1000
    await nursery.start(first.keep_above, lambda: revision, lambda _: None)
    assert RevisionCeiling(str(tmp_path / "data")).value > revision
    for _ in range(3):
        revision = first.value - 1
        autojump_clock.autojump_threshold = float("inf")  # the write is in a thread: no jumping over it
        with trio.fail_after(1e6):
            autojump_clock.jump(2)
            while first.value <= revision + 1:  # noqa: ASYNC110  # a thread writes it
                await trio.lowlevel.checkpoint()
        assert RevisionCeiling(str(tmp_path / "data")).value > revision


def test_what_is_not_a_number_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "revision").write_text("something else")
    with pytest.raises(CannotKeep, match="not a number"):
        RevisionCeiling(str(tmp_path))
    assert (tmp_path / "revision").read_text() == "something else"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotKeep, match="file"):
        RevisionCeiling(str(tmp_path / "file" / "data"))


async def test_a_disk_that_fails_later_is_reported_once_and_so_is_its_recovery(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    ceiling = RevisionCeiling(str(tmp_path / "data"))
    revision = 1000
    reported: list[OSError | None] = []
    send, receive = trio.open_memory_channel[None](10)

    def report(error: OSError | None) -> None:
        reported.append(error)
        send.send_nowait(None)

    with trio.fail_after(20):
        await nursery.start(ceiling.keep_above, lambda: revision, report)
        revision = ceiling.value
        (tmp_path / "data").rename(tmp_path / "away")
        await receive.receive()
        (tmp_path / "away").rename(tmp_path / "data")
        await receive.receive()
    first, second = reported
    assert isinstance(first, FileNotFoundError)
    assert second is None
    assert RevisionCeiling(str(tmp_path / "data")).value > revision
