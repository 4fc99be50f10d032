"""rpc.discover answers a document that is true and complete; tests/interop has it checked by others."""

import json

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
        types = [error["data"]["type"] for error in method["errors"]]
        assert set(types) >= {"invalid_params", "internal_error"}
        assert len(types) == len(set(types))
        known = {param["name"] for param in method["params"]}
        for example in method["examples"]:
            assert {param["name"] for param in example["params"]} <= known


def test_params_that_pass_through_are_described_as_what_may_be_sent() -> None:
    methods = {method["name"]: method for method in openrpc_document("1.2.3")["methods"]}
    for name in ("route.call", "session.notify"):
        [schema] = [param["schema"] for param in methods[name]["params"] if param["name"] == "params"]
        assert schema == {"anyOf": [{"type": ["object", "array"]}, {"type": "null"}]}


def test_every_reference_in_the_document_leads_somewhere() -> None:
    document = openrpc_document("1.2.3")
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references
    assert references <= set(schemas)
