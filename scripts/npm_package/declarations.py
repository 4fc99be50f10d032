"""Declarations for TypeScript, made of the types in the comments of the module, so that nothing is written twice.

TypeScript does the work. What it leaves in them of a module in JavaScript is taken out here: what is internal, comments that
belong to nothing, and types in comments, which stand beside them as types.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.interop.node import find_node

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "resroute" / "admin" / "static" / "resroute.js"
DECLARATIONS = MODULE.with_suffix(".d.ts")
TOOLS = ROOT / "tests" / "javascript"
"""The folder whose lock file names TypeScript."""

_HEADER = "// Made by scripts/npm types of the comments in resroute.js. Do not edit.\n"

_COMMENT = r"/\*\*(?:(?!\*/)[\s\S])*?\*/"
_INTERNAL = r"/\*\*(?:(?!\*/)[\s\S])*?@internal(?:(?!\*/)[\s\S])*?\*/"


def _statement(indent: str, beginning: str = r"[^ \n]") -> str:
    """A pattern of what ends with the first semicolon that is not further in."""
    open_line = rf"{indent}[^ \n][^\n]*[^;\n]\n(?:{indent} [^\n]*\n)*"
    return rf"(?={indent}{beginning})(?:{open_line})*{indent}[^ \n][^\n]*;\n"


_INTERNAL_CONSTRUCTOR = re.compile(rf"^    {_INTERNAL}\n{_statement('    ', r'constructor\(')}", re.MULTILINE)
_INTERNAL_MEMBER = re.compile(rf"^    {_INTERNAL}\n{_statement('    ')}", re.MULTILINE)
_TYPE = re.compile(rf"^(?:{_COMMENT}\n)?{_statement('', 'export type (?P<name>[A-Za-z]+)')}", re.MULTILINE)
_PRIVATE_CLASS = re.compile(rf"^(?:{_COMMENT}\n)?declare class [\s\S]*?^}}\n", re.MULTILINE)
_ORPHAN = re.compile(rf"^{_COMMENT}\n(?=/\*\*|declare |export \{{)", re.MULTILINE)
_TAG = re.compile(r"@(param|returns|type|template|property|implements|readonly|overload)\b ?")


def make_declarations() -> str:
    """The declarations that the module should have."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            find_node(TOOLS).program,
            TOOLS / "node_modules" / "typescript" / "bin" / "tsc",
            "-p",
            TOOLS,
            "--outDir",
            folder,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{done.stdout}{done.stderr}")
        text = (Path(folder) / DECLARATIONS.name).read_text()
    text = _INTERNAL_CONSTRUCTOR.sub("    private constructor();\n", text)
    for unwanted in (_INTERNAL_MEMBER, _PRIVATE_CLASS, _ORPHAN):
        text = unwanted.sub("", text)
    text = _without_unused_types(text)
    text = re.sub(_COMMENT, lambda comment: _without_types(comment[0]), text)
    text = re.sub(r"^ *\n", "", text, flags=re.MULTILINE)
    return _HEADER + re.sub(r"^     (?=readonly )", "    ", text, flags=re.MULTILINE)


def _without_unused_types(text: str) -> str:
    """Without types that only what is internal uses."""
    code = re.sub(_COMMENT, "", text)
    unused = {type_["name"] for type_ in _TYPE.finditer(text) if code.count(type_["name"]) == 1}
    if not unused:
        return text
    return _without_unused_types(_TYPE.sub(lambda type_: "" if type_["name"] in unused else type_[0], text))


def _without_types(comment: str) -> str:
    """A comment without what the declaration says itself; nothing if nothing else is in it."""
    comment = _without_braces(comment)
    comment = re.sub(r"@(?:type|readonly|overload|implements)\b *", "", comment)
    comment = re.sub(r"@template \[?\w+(?:=\w+)?\]? *", "", comment)
    comment = re.sub(
        r"@param \[?([\w.]+)(?:=[^\]]*)?\]? *(?=@|\n|\*/)", "", comment
    )  # without a word about it
    comment = re.sub(r"@param \[([\w.]+)\]", r"@param \1", comment)
    comment = re.sub(r"@returns *(?=@|\n|\*/)", "", comment)
    comment = re.sub(r"\A(/\*\*\s+(?:\* )?)- ", r"\1", comment)
    comment = re.sub(
        r"(?:\n *\* *)+(?=\n *(?:\*/|\* @))", "", comment
    )  # empty lines before tags, and at the end
    comment = re.sub(r"^/\*\*(?:\n *\* *)+(?=\n)", "/**", comment)
    comment = re.sub(r" +$", "", comment, flags=re.MULTILINE)
    if re.fullmatch(r"/\*\*[\s*]*\*/", comment):
        return ""
    return re.sub(r"(\S) +\*/$", r"\1 */", comment)


def _without_braces(comment: str) -> str:
    """Without the types behind tags, which may have braces in them."""
    made, position = [], 0
    for tag in _TAG.finditer(comment):
        if tag.start() < position or comment[tag.end() : tag.end() + 1] != "{":
            continue
        end, depth = tag.end(), 0
        while True:
            depth += {"{": 1, "}": -1}.get(comment[end], 0)
            end += 1
            if depth == 0:
                break
        made.append(comment[position : tag.end()])
        position = end + (comment[end : end + 1] == " ")
    return "".join(made) + comment[position:]
