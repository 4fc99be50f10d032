"""What tests of the JavaScript SDK need."""

from pathlib import Path

import pytest

from tests.interop.node import Node, NoNode, find_node


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with the locked packages; without it the test is skipped, and says so."""
    try:
        return find_node(Path(__file__).parent)
    except NoNode:
        pytest.skip("Node.js with npm is not installed: the JavaScript SDK is NOT tested")
