"""What ``resroute`` itself offers."""

import subprocess
import sys

import pytest

import resroute
import resroute.client
from resroute import errors


def test_every_public_name_is_there() -> None:
    for name in resroute.__all__:
        assert getattr(resroute, name) is not None
    assert set(resroute.__all__) <= set(dir(resroute))
    assert list(resroute.__all__) == sorted(
        set(resroute.__all__), key=lambda name: (not name[0].isupper(), name)
    )


def test_the_client_and_every_error_are_public() -> None:
    assert set(resroute.client.__all__) <= set(resroute.__all__)
    error_classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ResrouteError) and not name.startswith("_")
    }
    assert error_classes <= set(resroute.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="open_clients"):
        resroute.open_clients  # type: ignore[attr-defined]  # noqa: B018


def test_importing_resroute_loads_neither_trio_nor_a_client() -> None:
    program = "import resroute, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    assert not {"trio", "attrs", "msgspec", "resroute.errors", "resroute.client"}.intersection(loaded)
