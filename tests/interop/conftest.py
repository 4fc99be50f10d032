"""What tests with other people's programs need."""

from pathlib import Path

import pytest

from tests.interop.environment import find_python
from tests.interop.node import Node, NoNode, find_node


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with the locked packages; without it the test is skipped, and says so."""
    try:
        return find_node()
    except NoNode:
        pytest.skip("Node.js with npm is not installed: NOT tried out with other people's programs")


@pytest.fixture(scope="session")
def libraries_python() -> Path:
    """An interpreter of an environment of its own, with the locked libraries."""
    return find_python()
