"""Forms: what a page sends, and whether it is a page of ours."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from quart import Request, Response

from resroute.admin.access import Visitor, check_csrf, refuse_foreign
from resroute.admin.problems import Problem

MAX_FIELDS = 2000
CSRF_FIELD = "csrf_token"


class Form:
    """The fields of a form."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name, []).append(value)

    def get(self, name: str) -> str:
        """The value of a field; empty if there is none."""
        values = self._fields.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """All values of fields of this name."""
        return self._fields.get(name, [])

    def fields(self) -> Mapping[str, Sequence[str]]:
        """All of them."""
        return self._fields


async def read_form(request: Request, visitor: Visitor | None) -> Form:
    """What a form of ours says.

    Args:
        visitor: whose it is. None before anybody has logged in.

    Raises:
        Problem: it is not one of ours, or no form.
    """
    refuse_foreign(request)
    if request.mimetype != "application/x-www-form-urlencoded":
        raise Problem(415, "A form has to say that it is one")
    body = await request.get_data()
    assert isinstance(body, bytes)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise Problem(400, "This form cannot be read") from None
    form = Form([(name, value.replace("\r\n", "\n")) for name, value in fields])
    if visitor is not None:
        check_csrf(visitor, form.get(CSRF_FIELD))
    return form


def is_local_path(path: str) -> bool:
    """Whether a browser that is sent there stays with us."""
    return (
        path.startswith("/") and not path.startswith(("//", "/\\")) and path.isascii() and path.isprintable()
    )


def see_other(path: str) -> Response:
    """Have the browser look there."""
    return Response(b"", 303, {"Location": path})
