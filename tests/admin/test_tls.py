"""The admin port with a certificate: what speaks to it, and what cookies say then."""

import contextlib
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trustme
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from resroute.admin import Access, serving
from resroute.admin.access import CannotChange
from resroute.security.certificates import CannotReadCertificate, Certificate
from resroute.settings import InvalidSetting, Settings
from tests.admin.asking import Place, open_place
from tests.admin.test_access import ADA, TOKENS, Browser, bearer


@attrs.define
class Files:
    """A certificate and its key on disk, and who signed it."""

    folder: Path
    authority: trustme.CA = attrs.field(factory=trustme.CA)

    def __attrs_post_init__(self) -> None:
        self.renew()

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def settings(self) -> Settings:
        return Settings(
            admin_tokens=TOKENS,
            admin_tls_certificate_file=str(self.certificate),
            admin_tls_key_file=str(self.key),
        )

    def renew(self) -> None:
        """Another certificate in the place of the one before."""
        issued = self.authority.issue_cert("127.0.0.1")
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    def trust(self, *alpn: str) -> ssl.SSLContext:
        """What clients of the authority speak TLS with."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@asynccontextmanager
async def open_secured(files: Files) -> AsyncGenerator[Place]:
    """A place that speaks TLS, and a client that trusts it."""
    async with open_place(access=Access.read(files.settings())) as place:
        place.client.tls = files.trust()
        yield place


async def test_programs_and_browsers_speak_tls_and_a_cookie_goes_nowhere_else(files: Files) -> None:
    async with open_secured(files) as place:
        answer = await place.client.ask("GET", "/api/v1/statistics", headers=bearer(ADA))
        assert answer.status == 200
        browser = Browser(place)
        answer = await browser.log_in(ADA)
        assert answer.status == 303
        assert "; Secure;" in answer.cookies[0]
        assert (await browser.get("/resources")).status == 200


async def test_more_than_fits_into_one_record_arrives_both_ways(files: Files) -> None:
    async with open_secured(files) as place:
        await place.instance("ada", "a")
        call = {"resource_id": "a", "method": "echo", "params": {"x": "x" * 500_000}}
        answer = await place.client.ask("POST", "/api/v1/call", call, headers=bearer(ADA))
        assert answer.result()["result"] == call["params"]


@pytest.mark.parametrize(
    ("offered", "chosen"), [(("h2", "http/1.1"), "http/1.1"), (("h2",), None), ((), None)]
)
async def test_http_1_is_all_that_is_agreed_on(
    files: Files, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with open_secured(files) as place:
        place.client.tls = files.trust(*offered)
        stream = await place.client.connect()
        assert isinstance(stream, trio.SSLStream)
        async with stream:
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == chosen
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert bytes(await stream.receive_some()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("said", [b"\x16\x03\x01\xff\xff", b"\x16", b""])
async def test_who_speaks_no_tls_gets_nowhere_and_costs_nobody_else(files: Files, said: bytes) -> None:
    async with open_secured(files) as place:
        assert b"HTTP" not in await say(place, said)
        assert (await place.client.ask("GET", "/healthz")).status == 200


async def test_who_speaks_plain_http_is_told_that_it_is_to_speak_tls(files: Files) -> None:
    request = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + ADA.encode() + b"\r\n\r\n"
    )
    async with open_secured(files) as place:
        head, _, body = (await say(place, request)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["detail"] == "TLS is spoken here: https"


async def say(place: Place, said: bytes) -> bytes:
    """What comes back of this without TLS, and nothing more."""
    async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
        answer = b""
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(said)
            await stream.send_eof()
            while piece := await stream.receive_some():
                answer += piece
        return answer


async def test_a_crowd_that_shakes_no_hands_keeps_nobody_out(files: Files) -> None:
    with capture_logs() as logs:
        await crowd_in(files)
    assert not [line for line in logs if line["log_level"] == "warning"]


async def crowd_in(files: Files) -> None:
    async with open_secured(files) as place, AsyncExitStack() as crowd:
        for number in range(2 * serving.MAX_CONNECTIONS):
            stream = await trio.open_tcp_stream("127.0.0.1", place.client.port)
            await crowd.enter_async_context(stream)
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(b"\x16\x03\x01"[: number % 4])
        assert (await place.client.ask("GET", "/healthz")).status == 200


async def test_a_handshake_that_does_not_come_is_not_waited_for(files: Files) -> None:
    settings = Settings(handshake_timeout_seconds=0.3)
    async with open_place(settings, access=Access.read(files.settings())) as place:
        async with await trio.open_tcp_stream("127.0.0.1", place.client.port) as stream:
            with trio.fail_after(20):
                assert await stream.receive_some() == b""


async def test_a_certificate_that_was_renewed_is_shown_to_who_comes_then(files: Files) -> None:
    async with open_secured(files) as place:
        settings = files.settings()

        async def shown() -> bytes | None:
            stream = await place.client.connect()
            assert isinstance(stream, trio.SSLStream)
            async with stream:
                await stream.do_handshake()
                certificate: bytes | None = stream.getpeercert(binary_form=True)
                return certificate

        first = await shown()
        place.access.read_again(settings)
        assert await shown() == first
        files.renew()
        assert await shown() == first
        place.access.read_again(settings)
        second = await shown()
        assert second != first
        # half of another one, or none at all, is not taken
        before = files.key.read_bytes()
        files.renew()
        files.key.write_bytes(before)
        with pytest.raises(CannotReadCertificate, match="do not belong together"):
            place.access.read_again(settings)
        with pytest.raises(CannotChange, match="whether the admin port speaks TLS"):
            place.access.read_again(Settings(admin_tokens=TOKENS))
        assert await shown() == second
        assert (await place.client.ask("GET", "/healthz")).status == 200


# --- files that cannot be used ----------------------------------------------------------------------------


def test_without_settings_there_is_no_certificate() -> None:
    assert Certificate.read(Settings()) is None


@pytest.mark.parametrize("name", ["admin_tls_certificate_file", "admin_tls_key_file"])
def test_a_certificate_needs_its_key_and_a_key_its_certificate(name: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"must be set, as {name} is$"):
        Settings(**{name: "x.pem"})  # type: ignore[arg-type]


def test_what_is_wrong_with_a_file_is_said_in_one_line(files: Files) -> None:
    def problem() -> str:
        with pytest.raises(CannotReadCertificate) as caught:
            Certificate.read(files.settings())
        text = str(caught.value)
        assert "\n" not in text
        return text

    certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
    files.key.unlink()
    assert problem() == f"cannot read admin_tls_key_file {files.key}: No such file or directory"
    files.key.mkdir()
    assert problem() == f"cannot read admin_tls_key_file {files.key}: Is a directory"
    files.key.rmdir()
    files.key.write_bytes(b"")
    assert problem() == f"admin_tls_key_file {files.key} is not PEM"
    files.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + b"x" * 2_000_000)
    assert problem() == f"admin_tls_key_file {files.key} is larger than 1048576 bytes"
    files.key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")
    assert "are not a key and a certificate" in problem()
    files.key.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())
    assert "do not belong together" in problem()
    files.key.write_bytes(encrypted(key))
    assert "is encrypted" in problem()
    files.key.write_bytes(key)
    files.certificate.write_bytes(key)
    assert "are not a key and a certificate" in problem()
    files.certificate.write_bytes(certificate)
    read = Certificate.read(files.settings())
    assert read is not None
    assert read.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert ssl.OP_NO_RENEGOTIATION in read.context.options


def encrypted(key: bytes) -> bytes:
    """The same key with a passphrase."""
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )


def test_one_file_may_hold_both(files: Files) -> None:
    files.certificate.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    both = str(files.certificate)
    assert Certificate.read(Settings(admin_tls_certificate_file=both, admin_tls_key_file=both)) is not None
