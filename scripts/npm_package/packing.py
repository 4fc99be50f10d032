"""A package for npm: the module, its declarations, and what describes them, with the version of this project."""

import json
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from npm_package.declarations import DECLARATIONS, MODULE, ROOT

README = Path(__file__).parent / "README.md"


def pack(folder: Path) -> Path:
    """Make the package in a folder, which may have to be made too. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as contents:
        for path in (MODULE, DECLARATIONS, README, ROOT / "LICENSE"):
            shutil.copy(path, contents)
        (Path(contents) / "package.json").write_text(json.dumps(make_manifest(), indent=2) + "\n")
        command = ["npm", "pack", "--json", "--loglevel=error", "--pack-destination", folder.resolve()]
        done = subprocess.run(command, cwd=contents, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    [packed] = json.loads(done.stdout)
    return folder / packed["filename"]


def make_manifest() -> dict[str, Any]:
    """What npm is told, most of it from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "name": project["name"],
        "version": project["version"],
        "description": f"{project['description']}: the client, for browsers and Node.js",
        "license": project["license"],
        "keywords": ["json-rpc", "ownership", "router", "service", "websocket"],
        "type": "module",
        "exports": {".": {"types": f"./{DECLARATIONS.name}", "default": f"./{MODULE.name}"}},
        "types": f"./{DECLARATIONS.name}",
        "engines": {"node": ">=20"},
        "sideEffects": False,
    }
