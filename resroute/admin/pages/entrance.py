"""Logging in and out."""

from quart import Blueprint, Response, request

from resroute.admin.access import Access
from resroute.admin.forms import is_local_path, read_form, see_other
from resroute.admin.problems import Problem
from resroute.admin.rendering import Templates

_UNDONE = "You are no longer logged in: what you asked for was not done."


def make_entrance(access: Access, templates: Templates) -> Blueprint:
    """``/login`` and ``/logout``."""
    entrance = Blueprint("entrance", __name__)

    @entrance.get("/login")
    async def login() -> Response:
        path = request.args.get("next", "/")
        path = path if is_local_path(path) else "/"
        if access.find(request) is not None:
            return see_other(path)
        problem = _UNDONE if "undone" in request.args else None
        return templates.page("login.html", None, next=path, problem=problem)

    @entrance.post("/login")
    async def log_in() -> Response:
        form = await read_form(request, None)
        path = form.get("next")
        path = path if is_local_path(path) else "/"
        response = see_other(path)
        if access.is_open and access.is_local:
            return response
        try:
            access.log_in(request, form.get("token"), response)
        except Problem as problem:
            text = "This token is not known here."
            if "Retry-After" in problem.headers:
                text = f"Too many tries: wait {problem.headers['Retry-After']} s."
            page = templates.page("login.html", None, status=problem.status, next=path, problem=text)
            page.headers.update(problem.headers)
            return page
        return response

    @entrance.post("/logout")
    async def log_out() -> Response:
        visitor = access.find(request)
        if visitor is not None:
            await read_form(request, visitor)
        response = see_other("/login")
        access.log_out(request, response)
        return response

    return entrance
