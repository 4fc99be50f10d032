"""Who asks, and whether they may."""

import hmac
import secrets
import ssl
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

import attrs
import structlog
import trio
from quart import Request, Response

from resroute.admin.logins import Login, Logins
from resroute.admin.problems import Problem
from resroute.errors import RateLimited, Unauthenticated
from resroute.security.certificates import Certificate
from resroute.security.proxies import Proxies
from resroute.security.throttle import FREE_FAILURES, Throttle
from resroute.security.tokens import AdministratorTokens, KnownToken
from resroute.settings import Settings

CSRF_HEADER = "X-CSRF-Token"

_SAFE = ("GET", "HEAD", "OPTIONS")
_ANONYMOUS = "anonymous"
_MAX_TOKEN_LENGTH = 1024

_log = structlog.get_logger("resroute.admin")


class CannotChange(Exception):
    """What cannot change while the router runs; the text is one line for people."""


@attrs.frozen
class Visitor:
    """Who has made a request.

    Attributes:
        csrf_token: what a form of this visitor has to bring back.
        login: by which it came; None for a token, or without authentication.
        token: that the request brought; None for a login, or without authentication.
    """

    subject: str
    csrf_token: str = attrs.field(repr=False, default="")
    login: Login | None = None
    token: KnownToken | None = None


class Access:
    """Lets administrators in.

    With no token at all there is no authentication: everybody on this machine is one.

    Args:
        tokens: theirs.
        proxies: are believed about whom they ask for.
        certificate: to speak TLS with. None: it is not spoken.
        clock: seconds on any clock.
    """

    def __init__(
        self,
        tokens: AdministratorTokens | None = None,
        proxies: Proxies | None = None,
        certificate: Certificate | None = None,
        *,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._tokens = tokens or AdministratorTokens()
        self._proxies = proxies or Proxies()
        self._certificate = certificate
        self.logins = Logins(clock)
        self._throttle = Throttle(clock)
        self._csrf_token = secrets.token_urlsafe(32)  # of those who need not log in
        # what to do when a token is withdrawn; each entry is removed by who made it
        self._endings: dict[Callable[[], object], KnownToken] = {}
        self.is_local = True
        """Whether only this machine can ask. Otherwise nobody gets in without a token."""

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """As settings have it, and the files that they name.

        Raises:
            CannotReadTokens: a file cannot be used.
            CannotReadCertificate: likewise.
        """
        return cls(
            AdministratorTokens.read(settings),
            Proxies(settings.admin_trusted_proxies),
            Certificate.read(settings),
        )

    def read_again(self, settings: Settings) -> None:
        """Go on as settings have it now, and the files that they name, or as before if it raises.

        Raises:
            CannotReadTokens: a file cannot be used.
            CannotReadCertificate: likewise.
            CannotChange: something cannot.
        """
        tokens, certificate = AdministratorTokens.read(settings), Certificate.read(settings)
        if (certificate is None) != (self._certificate is None):
            raise CannotChange("whether the admin port speaks TLS cannot change while the router runs")
        self.change_tokens(tokens)
        self._proxies = Proxies(settings.admin_trusted_proxies)
        if certificate != self._certificate:
            _log.info("the admin port has another certificate")
        self._certificate = certificate

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What the next connection speaks TLS with. None: it does not."""
        return None if self._certificate is None else self._certificate.context

    @property
    def is_open(self) -> bool:
        """Whether nobody has to say who it is."""
        return not self._tokens

    def change_tokens(self, tokens: AdministratorTokens) -> None:
        """Let in those who have one of these, and nobody else any more.

        Raises:
            CannotChange: whether there is authentication cannot.
        """
        if bool(tokens) != bool(self._tokens):
            raise CannotChange("whether administrators need a token cannot change while the router runs")
        self._tokens = tokens
        self.logins.keep_only(tokens)
        for act in [act for act, token in self._endings.items() if token not in tokens]:
            del self._endings[act]
            act()

    def when_out(self, visitor: Visitor, act: Callable[[], object]) -> Callable[[], object]:
        """Have something done when a visitor may no longer be here. Returns what undoes that."""
        if visitor.login is not None:
            return visitor.login.when_over(act)
        if visitor.token is not None:
            self._endings[act] = visitor.token
        return lambda: self._endings.pop(act, None)

    # --- requests ---------------------------------------------------------------------------------------------

    def admit(self, request: Request) -> Visitor:
        """Who has made this request of a program, or of a script on a page.

        Raises:
            Problem: it may not be answered.
        """
        if "Authorization" in request.headers:
            return self._bearer(request)
        refuse_foreign(request)
        visitor = self.find(request)
        if visitor is None:
            raise _unauthenticated()
        if visitor.login is not None and request.method not in _SAFE:
            check_csrf(visitor, request.headers.get(CSRF_HEADER, ""))
        return visitor

    def find(self, request: Request) -> Visitor | None:
        """Who has made this request of a browser; None if nobody has logged in."""
        if self.is_open:
            return Visitor(_ANONYMOUS, self._csrf_token) if self.is_local else None
        login = self.logins.find(request.cookies.get(cookie_name(request), ""))
        return None if login is None else Visitor(login.token.subject, login.csrf_token, login)

    def _bearer(self, request: Request) -> Visitor:
        scheme, _, token = request.headers["Authorization"].partition(" ")
        if self.is_open and self.is_local:
            # the header is worth nothing here, and an address can make browsers send one
            refuse_foreign(request)
            return Visitor(_ANONYMOUS)
        if scheme.lower() != "bearer":
            raise _unauthenticated()
        known = self._known(token.strip(), request)
        return Visitor(known.subject, token=known)

    def _known(self, token: str, request: Request) -> KnownToken:
        """What is known of a token.

        Raises:
            Problem: nobody's; or this address has guessed too often.
        """
        address = self._address_of(request)
        wait_seconds = self._throttle.wait_seconds(address)
        if wait_seconds > 0:
            raise Problem.of(RateLimited(FREE_FAILURES, retry_after_seconds=round(wait_seconds, 1)))
        known = self._tokens.find(token) if 0 < len(token) <= _MAX_TOKEN_LENGTH else None
        if known is None:
            self._throttle.failed(address)
            _log.warning("a wrong token for the admin pages", remote_address=address)
            raise _unauthenticated()
        self._throttle.succeeded(address)
        return known

    def _address_of(self, request: Request) -> str:
        client = request.scope.get("client")
        forwarded_for = request.headers.getlist("X-Forwarded-For")
        return self._proxies.asker(str(client[0]), forwarded_for) if client else ""

    # --- logging in and out -----------------------------------------------------------------------------------

    def log_in(self, request: Request, token: str, response: Response) -> str:
        """Have the browser that asks be logged in. Returns who that is.

        Raises:
            Problem: the token is nobody's.
        """
        known = self._known(token.strip(), request)
        self.log_out(request, response)  # what it has of before
        response.set_cookie(
            cookie_name(request),
            self.logins.begin(known),
            httponly=True,
            samesite="Strict",
            secure=_is_secure(request),
            path="/",
        )
        return known.subject

    def log_out(self, request: Request, response: Response) -> None:
        """Have the browser that asks be logged in no longer."""
        name = cookie_name(request)
        value = request.cookies.get(name)
        if value is not None:
            self.logins.end(value)
            response.delete_cookie(
                name, path="/", httponly=True, samesite="Strict", secure=_is_secure(request)
            )


def check_csrf(visitor: Visitor, given: str) -> None:
    """See to it that a request comes from one of our own pages.

    Raises:
        Problem: it does not.
    """
    if not hmac.compare_digest(visitor.csrf_token.encode(), given.encode(errors="surrogateescape")):
        raise Problem(403, "This request does not come from a page of this router: load the page again")


def refuse_foreign(request: Request) -> None:
    """Refuse what a page of somebody else has a browser ask for.

    Raises:
        Problem: it is that.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    host = request.headers.get("Host", "")
    if site not in ("none", "same-origin") or (origin is not None and _host_of(origin) != host.lower()):
        raise Problem(403, "This request comes from a page of another site")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def cookie_name(request: Request) -> str:
    """The cookie of this router: those of one machine are seen by all its ports."""
    server = request.scope.get("server")
    return f"resroute_{server[1] if server else 0}"


def _is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us. Who lies about it loses its own cookie."""
    said, _, _ = request.headers.get("X-Forwarded-Proto", "").partition(
        ","
    )  # by the first of several proxies
    return request.scheme == "https" or said.strip().lower() == "https"


def _unauthenticated() -> Problem:
    problem = Problem.of(Unauthenticated())
    problem.headers = {"WWW-Authenticate": 'Bearer realm="resroute"'}
    return problem
