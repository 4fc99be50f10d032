"""A folder has one router at a time."""

import os
from pathlib import Path

import pytest

from resroute.cluster.data_dir import NAME, CannotHold, hold_data_dir


def test_who_comes_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with hold_data_dir(str(tmp_path / "data")):
        with pytest.raises(CannotHold, match=rf"another router uses it \(process {os.getpid()}\)"):
            with hold_data_dir(str(tmp_path / "data")):
                pass
        assert (tmp_path / "data" / NAME).read_text() == f"{os.getpid()}\n", (
            "the refused one has changed nothing"
        )
    with hold_data_dir(str(tmp_path / "data")):
        pass


def test_two_folders_have_two_routers(tmp_path: Path) -> None:
    with hold_data_dir(str(tmp_path / "a")), hold_data_dir(str(tmp_path / "b")):
        pass


def test_what_is_left_of_a_longer_number_is_gone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("99999999999999\n")
    with hold_data_dir(str(tmp_path)):
        assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotHold, match="file/data: Not a directory"):
        with hold_data_dir(str(tmp_path / "file" / "data")):
            pass
