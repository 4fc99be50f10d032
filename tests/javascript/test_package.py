"""The JavaScript SDK as a file among others: its types, and how it reaches those who use it."""

import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import attrs

from resroute.errors import ROUTER_ERRORS
from tests.docs.running import ROOT
from tests.interop.node import Node
from tests.javascript.programs import HERE, NPM, run

MODULE = ROOT / "resroute" / "admin" / "static" / "resroute.js"


def test_the_declarations_are_made_of_the_module_whose_comments_say_its_types(node: Node) -> None:
    run(NPM, "types", "--check")  # which checks the module


def test_each_type_of_error_is_declared() -> None:
    [table] = re.findall(r"@typedef \{object\} RouterErrorData\n(.*?)\*/", MODULE.read_text(), re.DOTALL)
    declared = {kind: shape for shape, kind in re.findall(r"@property \{\{(.*)\}\} (\w+)", table)}
    assert declared.keys() == ROUTER_ERRORS.keys()
    for kind, error in ROUTER_ERRORS.items():
        fields = {field.name for field in attrs.fields(error)} - {"trace_id"}
        assert fields <= set(re.findall(r"(\w+)\??:", declared[kind])), kind


def test_a_program_in_typescript_is_checked_against_the_package(node: Node, installed: Path) -> None:
    (installed / "consumer.ts").write_text((HERE / "consumer.ts").read_text())
    modules = (
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
        "--types",
        "none",
    )
    library = "es2022,dom,dom.iterable,dom.asynciterable"
    (installed / "node_modules" / "@types" / "none").mkdir(parents=True)
    (installed / "node_modules" / "@types" / "none" / "index.d.ts").write_text("")
    compiler = node.folder / "node_modules" / "typescript" / "bin" / "tsc"
    options = ("--strict", "--noEmit", *modules, "--lib", library)
    run(node.program, compiler, *options, "consumer.ts", folder=installed)


def test_the_package_is_imported_by_its_name_and_has_the_version_of_the_project(
    node: Node, installed: Path
) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    package = installed / "node_modules" / "resroute"
    assert json.loads((package / "package.json").read_text())["version"] == version
    assert {path.name for path in package.iterdir()} == {
        *("LICENSE", "README.md", "package.json", "resroute.d.ts", "resroute.js")
    }
    program = 'import * as all from "resroute"; console.log(JSON.stringify(Object.keys(all)))'
    names = json.loads(run(node.program, "--input-type=module", "--eval", program, folder=installed))
    assert {"connect", "RouterError", "RemoteError", "ConnectionLost", "StaleEpoch"} <= set(names)


def test_the_wheel_has_the_module_and_its_declarations(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        for name in ("resroute.js", "resroute.d.ts"):
            assert files.read(f"resroute/admin/static/{name}") == MODULE.with_name(name).read_bytes()
