"""What tests of the JavaScript SDK need."""

from pathlib import Path

import pytest

from tests.interop.node import Node, NoNode, find_node
from tests.javascript.programs import HERE, NPM, run


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with the locked packages; without it the test is skipped, and says so."""
    try:
        return find_node(HERE)
    except NoNode:
        pytest.skip("Node.js with npm is not installed: the JavaScript SDK is NOT tested")


@pytest.fixture(scope="session")
def installed(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in which the package for npm is installed, of what is here now, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    package = run(NPM, "pack", folder).strip()
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    run("npm", "install", "--offline", "--loglevel=error", "--no-audit", package, folder=folder)
    return folder
