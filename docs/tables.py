"""Writes the tables of the documentation that say what the code says, so that the two cannot drift apart.

    python docs/tables.py             write them
    python docs/tables.py --check     say what is wrong with them

A table stands in its page between two comments, ``<!-- table: NAME -->`` and ``<!-- end of table -->``. What it says
comes from the method table, the errors, the settings, the metrics, the command line and the figures of the benchmarks,
whose plot is written beside them; tests/docs checks it.
"""

import ast
import functools
import inspect
import itertools
import json
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NewType, get_args, get_origin

import attrs
import click
import figures
import meanings
import msgspec

from resroute import errors, ids
from resroute.admin.collecting import RouterCollector
from resroute.cli import cli
from resroute.errors import ROUTER_ERRORS, RouterError
from resroute.protocol import params, results
from resroute.protocol.converting import JsonObject, JsonValue, Payload, ProgressToken, TraceId
from resroute.protocol.examples import EXAMPLES, Example
from resroute.protocol.methods import METHODS
from resroute.protocol.openrpc import EVERYWHERE
from resroute.router import Router
from resroute.settings import Heartbeat, Settings
from resroute.telemetry.garbage import timing_collections

DOCS = Path(__file__).parent
PACKAGE = Path(errors.__file__).parent
PAGES = tuple(
    DOCS / f"{name}.md" for name in ("protocol", "operations", "monitoring", "command-line", "benchmarks")
)

TYPES: Mapping[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Any: "anything",
    JsonObject: "object",
    JsonValue: "any value",
    ProgressToken: "string or integer",
    params.MetadataParams: "[ResourceMetadata](#resourcemetadata)",
    Payload: "object or array",
    params.BulkResource: "object",
    TraceId: "trace id",
    ids.ResourceId: "resource id",
    ids.InstanceId: "instance id",
    ids.ServiceName: "service name",
    ids.SessionId: "session id",
    ids.Epoch: "epoch",
    ids.Revision: "revision",
}


# --- words --------------------------------------------------------------------------------------------------------


def words_for(kind: Any) -> tuple[str, bool]:
    """A type in words, and whether its member may be left out."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return words_for(args[0])
    if origin in (types.UnionType, typing.Union):
        rest = [arg for arg in args if arg not in (types.NoneType, msgspec.UnsetType)]
        words = " or ".join(words_for(arg)[0] for arg in rest)
        may_be_null = types.NoneType in args
        return words + (" or null" if may_be_null else ""), msgspec.UnsetType in args
    if origin is Literal:
        return ", ".join(f"`{arg}`" if isinstance(arg, str) else f"`{arg}`".lower() for arg in args), False
    if origin in (list, Sequence):
        return f"list of {words_for(args[0])[0]}", False
    if origin in (dict, Mapping):
        return f"object: {words_for(args[0])[0]} → {words_for(args[1])[0]}", False
    if kind in TYPES:
        return TYPES[kind], False
    if isinstance(kind, NewType):
        return words_for(kind.__supertype__)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})", False
    raise TypeError(f"docs/tables.py has no words for {kind!r}")


def plain(docstring: str | None) -> str:
    """A docstring as one line of Markdown."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", inspect.cleandoc(docstring or ""))
    return " ".join(text.replace("``", "`").split())


def docs_of_members(cls: type) -> dict[str, str]:
    """The strings that stand below the members of a class, and those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError, SyntaxError):
            continue
        assert isinstance(tree.body[0], ast.ClassDef)
        body = tree.body[0].body
        for member, below in itertools.pairwise(body):
            match member, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = plain(text)
    return found


def table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- tables -------------------------------------------------------------------------------------------------------


def methods() -> str:
    """All of the router's own methods."""
    rows = (
        (
            f"[`{name}`](#{name.replace('.', '')})",
            f"`{method.role}`" if method.role else "any session",
            method.doc,
        )
        for name, method in METHODS.items()
    )
    return table(("method", "who may", "what it does"), rows)


def method(name: str) -> str:
    """Parameters and result of one method."""
    it = METHODS[name]
    parts: list[str] = []
    given = [field for field in attrs.fields(attrs.resolve_types(it.params)) if field.name != "trace_id"]
    if given:
        parts.append(_members_of_params(it.params, given))
    else:
        parts.append("No parameters.")
    if it.result is None:
        parts.append("Result: whatever the callee answered.")
    elif len(it.result.__struct_fields__) > 1:
        parts.append(struct(it.result, "result"))
    else:
        parts.append("Result: an object with nothing but the `trace_id`.")
    if it.errors:
        parts.append("Errors of its own: " + ", ".join(f"`{error.type}`" for error in it.errors) + ".")
    if it.result is not results.Document:  # an example of that would be this page once more
        parts += [
            f"Example. {example.description}\n\n``` {{ .json .wrap }}\n{_exchange(name, example)}\n```"
            for example in EXAMPLES[name]
        ]
    return "\n\n".join(parts)


def _exchange(name: str, example: Example) -> str:
    """An example as it goes over the wire."""
    head: dict[str, Any] = {"jsonrpc": "2.0", "id": 1}
    request = head | {"method": name} | ({"params": example.params} if example.params else {})
    return "\n".join(
        json.dumps(message, ensure_ascii=False) for message in (request, head | {"result": example.result})
    )


def _members_of_params(cls: type, fields: Sequence["attrs.Attribute[Any]"]) -> str:
    docs = docs_of_members(cls)
    rows = []
    for field in fields:
        key = f"{cls.__name__}.{field.name}"
        words = words_for(field.type)[0].removesuffix(" or null")
        if field.default is attrs.NOTHING:
            default = "required"
        elif field.default is None:
            default = ""
        else:
            default = f"`{field.default}`".lower()
        rows.append(
            [f"`{field.name}`", words, default, meanings.MEMBERS.get(key) or docs.get(field.name, "")]
        )
    headings = ["parameter", "type", "default", "meaning"]
    if not any(row[3] for row in rows):
        headings, rows = headings[:3], [row[:3] for row in rows]
    return table(headings, iter(rows))


def struct(cls: type[msgspec.Struct], heading: str = "member") -> str:
    """The members of one shape."""
    docs = docs_of_members(cls)
    hints = typing.get_type_hints(cls)
    rows = []
    for name in cls.__struct_fields__:
        if name == "trace_id":
            continue
        words, may_be_missing = words_for(hints[name])
        keys = (f"{base.__name__}.{name}" for base in cls.__mro__)
        meaning = next(filter(None, map(meanings.MEMBERS.get, keys)), None) or docs.get(name, "")
        rows.append([f"`{name}`" + ("?" if may_be_missing else ""), words, meaning])
    headings = [heading, "type", "meaning"]
    if not any(row[2] for row in rows):
        headings, rows = headings[:2], [row[:2] for row in rows]
    return table(headings, iter(rows))


def shape(name: str) -> str:
    """One shape by its name."""
    cls: type[msgspec.Struct] = getattr(results, name)
    return struct(cls)


@functools.cache
def _made_by_the_router() -> set[str]:
    """The names of the error classes that the router's side names."""
    used: set[str] = set()
    for folder in ("core", "protocol", "router", "cluster"):
        for path in (PACKAGE / folder).rglob("*.py"):
            used |= {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    return used


def _known_errors(*, made: bool) -> list[type[RouterError]]:
    used = _made_by_the_router()
    found = [cls for cls in ROUTER_ERRORS.values() if (cls.__name__ in used) == made]
    return sorted(found, key=lambda cls: (cls.code > 0, cls.code > -32700, abs(cls.code)))


def error_types() -> str:
    """Every error that the router makes."""
    rows = (
        (
            str(cls.code),
            f"`{cls.type}`",
            ", ".join(
                f"`{field.name}`" + ("?" if field.default is None else "")
                for field in sorted(attrs.fields(cls), key=lambda field: field.kw_only)
                if field.name != "trace_id"
            ),
            plain((cls.__doc__ or "").partition("\n\n")[0]),
            meanings.WHAT_TO_DO.get(cls.type, ""),
        )
        for cls in _known_errors(made=True)
    )
    return table(("code", "type", "more in `data`", "meaning", "what to do"), rows)


def errors_of_any_request() -> str:
    """What every request may be answered, whatever its method."""
    *most, last = (f"`{cls.type}`" for cls in EVERYWHERE)
    return f"Any request may be answered {', '.join(most)} or {last}. What else it may be answered stands with each method."


def reserved_error_types() -> str:
    """Every error that has a name already, and that the router does not make yet."""
    return (
        "Reserved, and not made yet: "
        + ", ".join(f"`{cls.type}` ({cls.code})" for cls in _known_errors(made=False))
        + "."
    )


def _settings() -> Iterator[tuple[str, Any, str]]:
    readers = [path for path in PACKAGE.rglob("*.py") if path.name not in ("settings.py", "__init__.py")]
    words = {word for path in readers for word in re.findall(r"\w+", path.read_text())}
    for prefix, cls in (("", Settings), ("heartbeat.", Heartbeat)):
        docs = docs_of_members(cls)
        for field in attrs.fields(cls):
            if field.name == "heartbeat":
                continue
            texts = [meanings.SETTINGS.get(prefix + field.name), docs.get(field.name)]
            if field.name not in words:
                texts.append("**Not used yet.**")
            yield prefix + field.name, field.default, " ".join(filter(None, texts))


def _default(value: Any, name: str) -> str:
    match value:
        case None:
            return "none"
        case tuple():
            return ", ".join(f"`{item}`" for item in value) or "none"
        case float() if name.endswith("_seconds"):
            return f"{value:g} s"
        case float() if name.endswith("_days"):
            return f"{value:g} days"
        case float():
            return f"{value:g}"
        case int() if name.endswith("_bytes") and value % 1024 == 0:
            return f"{value // 1024**2} MiB" if value % 1024**2 == 0 else f"{value // 1024} KiB"
        case int():
            return (
                f"{value:,}".replace(",", " ") if value > 9999 and not name.endswith("port") else str(value)
            )
        case _:
            return f"`{value}`"


def settings() -> str:
    """Every setting."""
    rows = ((f"`{name}`", _default(default, name), meaning) for name, default, meaning in _settings())
    return table(("setting", "default", "meaning"), rows)


def limits() -> str:
    """What ``session.info`` has as ``limits``."""
    told = Settings().limits()
    rows = (
        (f"`{name}`", _default(default, name), meaning)
        for name, default, meaning in _settings()
        if name in told
    )
    return table(("limit", "default", "meaning"), rows)


def metrics() -> str:
    """Every metric of the router's own."""
    router = Router()
    router.metrics.count_call("ok")
    router.metrics.count_operation("session.info", "ok", 0.001)
    router.metrics.count_bulk("resource.bulk_register", "ok")
    router.metrics.count_batch("resource.bulk_register", 0.001)
    service = ids.ServiceName("service")
    traffic = router.metrics.instance_came(service)
    traffic.observe(0.001)
    traffic.ownership.count_registrations("ok", 1)
    traffic.ownership.count_release("request")
    traffic.ownership.conflicts += 1
    traffic.ownership.metadata_sizes.observe(1)
    router.metrics.count_lookup_in_vain(service)
    router.metrics.count_transfers(service, service, "ok", 1)

    with timing_collections(router.metrics.garbage_collections):
        pass

    class OneInstance:
        sizes = staticmethod(router.gauges.sizes)
        outbox_sizes = staticmethod(router.gauges.outbox_sizes)

        def resource_counts(self) -> Iterator[tuple[str, str, int]]:
            yield "service", "instance", 1

    class View:
        state_name = "ready"
        metrics = router.metrics
        gauges = OneInstance()
        trail = router.trail

    rows = []
    for family in filter(None, RouterCollector(View()).collect()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        rows.append(
            [
                f"`{name}`",
                family.type,
                ", ".join(f"`{label}`" for label in sorted(labels)),
                family.documentation,
            ]
        )
    return table(("metric", "kind", "labels", "meaning"), iter(rows))


def command_line() -> str:
    """What ``--help`` says, of each command."""
    parts = []
    for name, command in cli.commands.items():
        context = click.Context(
            command, info_name=f"resroute {name}", terminal_width=90, max_content_width=90
        )
        parts.append(f"## `resroute {name}`\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts)


def found_by(benchmark: str) -> str:
    """What one benchmark found."""
    headings = ["operation", "resroute", "target", "held against", "ratio", "CPU/op", "verdict"]
    return table(headings, figures.rows(benchmark))


TABLES: Mapping[str, Callable[[], str]] = {
    "methods": methods,
    "errors": error_types,
    "errors of any request": errors_of_any_request,
    "reserved errors": reserved_error_types,
    "limits": limits,
    "settings": settings,
    "metrics": metrics,
    "command line": command_line,
    "conditions of the benchmarks": figures.conditions,
    **{f"benchmark {name}": lambda name=name: found_by(name) for name in figures.names()},  # type: ignore[misc]
    **{f"method {name}": lambda name=name: method(name) for name in METHODS},  # type: ignore[misc]
    **{
        f"shape {name}": lambda name=name: shape(name)  # type: ignore[misc]
        for name in (
            "HeartbeatInfo",
            "SessionInstance",
            "ResourceInfo",
            "ResourceMetadata",
            "Failure",
            "BatchResult",
            "InstanceInfo",
            "Candidate",
            "TransitionInfo",
            "Would",
            "ErrorInfo",
            "Move",
            "RankedResource",
            "ServiceStatistics",
        )
    },
}

_TABLE = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end of table -->", re.DOTALL)


def with_tables(text: str) -> str:
    """A page with all its tables as they should be."""
    return _TABLE.sub(
        lambda found: f"<!-- table: {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- end of table -->", text
    )


def problems() -> Iterator[str]:
    """What is wrong with the pages, or with what they are made from."""
    there: set[str] = set()
    for page in PAGES:
        text = page.read_text()
        there |= {found[1] for found in _TABLE.finditer(text)}
        if with_tables(text) != text:
            yield f"{page.name} is out of date: run python docs/tables.py"
    if figures.PLOT.read_text() != figures.plot():
        yield f"{figures.PLOT.name} is out of date: run python docs/tables.py"
    yield from (f"no page has the table {name!r}" for name in TABLES.keys() - there)
    members = {f"{cls.__name__}.{name}" for module in (params, results) for cls, name in _members(module)}
    yield from (f"meanings.py has {name}, which is gone" for name in meanings.MEMBERS.keys() - members)
    names = {name for name, _, _ in _settings()}
    yield from (
        f"meanings.py has the setting {name}, which is gone" for name in meanings.SETTINGS.keys() - names
    )
    types = {cls.type for cls in _known_errors(made=True)}
    yield from (
        f"meanings.py has the error {name}, which is gone" for name in meanings.WHAT_TO_DO.keys() - types
    )
    yield from (f"nothing says what to do about {name}" for name in types - meanings.WHAT_TO_DO.keys())
    yield from (
        f"nothing says what the setting {name} means" for name, _, meaning in _settings() if not meaning
    )


def _members(module: types.ModuleType) -> Iterator[tuple[type, str]]:
    for cls in vars(module).values():
        if attrs.has(cls):
            yield from ((cls, field.name) for field in attrs.fields(cls))
        elif isinstance(cls, type) and issubclass(cls, msgspec.Struct):
            yield from ((cls, name) for name in cls.__struct_fields__)


def main() -> int:
    """Write the tables, or check them."""
    if sys.argv[1:] != ["--check"]:
        for page in PAGES:
            page.write_text(with_tables(page.read_text()))
        figures.PLOT.write_text(figures.plot())
    found = list(problems())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
