"""Styles, scripts and pictures: the files beside this module in ``static``, as they are."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import attrs
import trio
from quart import Blueprint, Response, request

from resroute.admin.problems import Problem

FOLDER = Path(__file__).parent / "static"

_CONTENT_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}

# A page among them is an example of what a browser can do with a router, whose port is another one.
_EXAMPLE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@attrs.frozen
class _File:
    body: bytes
    content_type: str
    etag: str


class StaticFiles:
    """The files, each read once, when it is first asked for.

    Args:
        folder: where they are. What is put there later is not found.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._names = frozenset(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix in _CONTENT_TYPES and path.is_file()
        )
        # name -> the file; at most one for each name
        self._read: dict[str, _File] = {}

    def blueprint(self) -> Blueprint:
        """Where they are served."""
        files = Blueprint("static_files", __name__, url_prefix="/static")

        @files.get("/<path:name>")
        async def static_file(name: str) -> Response:
            if name not in self._names:
                raise Problem(404, f"there is no page {request.path}; / lists those there are")
            file = await self._file(name)
            headers = {"ETag": f'"{file.etag}"', "Cache-Control": "no-cache"}
            if file.content_type.startswith("text/html"):
                headers["Content-Security-Policy"] = _EXAMPLE_POLICY
            if file.etag in request.if_none_match:
                return Response(b"", 304, headers)
            return Response(file.body, 200, headers, content_type=file.content_type)

        return files

    async def _file(self, name: str) -> _File:
        file = self._read.get(name)
        if file is None:
            body = await trio.Path(self._folder / name).read_bytes()
            content_type = _CONTENT_TYPES[Path(name).suffix]
            file = self._read[name] = _File(body, content_type, sha256(body).hexdigest()[:32])
        return file
