"""rpc.discover answers a true and valid OpenRPC document."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from resroute.protocol.examples import EXAMPLES
from resroute.protocol.methods import METHODS
from resroute.protocol.openrpc import openrpc_document


def test_every_method_is_described_with_its_parameters_errors_and_an_example() -> None:
    document = openrpc_document("1.2.3")
    assert document["info"]["version"] == "1.2.3"
    assert [method["name"] for method in document["methods"]] == list(METHODS)
    assert set(EXAMPLES) == set(METHODS)
    for method in document["methods"]:
        assert method["description"]
        assert method["examples"]
        assert {error["data"]["type"] for error in method["errors"]} >= {"invalid_params", "internal_error"}
        known = {param["name"] for param in method["params"]}
        for example in method["examples"]:
            assert {param["name"] for param in example["params"]} <= known


def test_every_reference_in_the_document_leads_somewhere() -> None:
    document = openrpc_document("1.2.3")
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references
    assert references <= set(schemas)


@pytest.mark.slow
def test_the_reference_implementation_of_openrpc_accepts_the_document(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(
            "Node.js is not installed: the OpenRPC document is NOT checked by @open-rpc/schema-utils-js"
        )
    (tmp_path / "document.json").write_text(json.dumps(openrpc_document("1.2.3")))
    package = {"private": True, "dependencies": {"@open-rpc/schema-utils-js": "2.1.2"}}
    (tmp_path / "package.json").write_text(json.dumps(package))
    (tmp_path / "check.js").write_text(
        "const { parseOpenRPCDocument } = require('@open-rpc/schema-utils-js');\n"
        "const document = JSON.parse(require('fs').readFileSync('document.json', 'utf8'));\n"
        "parseOpenRPCDocument(document).then((parsed) => console.log('methods', parsed.methods.length));\n"
    )
    install = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(install, cwd=tmp_path, check=True, timeout=300)
    checked = subprocess.run(
        [node, "check.js"], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
    )
    assert checked.stdout == f"methods {len(METHODS)}\n", checked.stderr
