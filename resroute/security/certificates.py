"""The certificate that the admin port speaks TLS with, and its key."""

import ssl
from hashlib import sha256
from pathlib import Path
from typing import Self

import attrs

from resroute.settings import Settings

MAX_FILE_BYTES = 1024 * 1024


class CannotReadCertificate(Exception):
    """It, or its key, cannot be read, or they do not go together; the text is one line for people."""


@attrs.frozen
class Certificate:
    """A certificate and its key, ready to be shown.

    Attributes:
        context: to serve a connection with.
        digest: another one has another.
    """

    context: ssl.SSLContext = attrs.field(eq=False, repr=False)
    digest: bytes

    @classmethod
    def read(cls, settings: Settings) -> Self | None:
        """What the settings name; None if they name none, and no TLS is spoken.

        Raises:
            CannotReadCertificate: a file cannot be used.
        """
        certificate, key = settings.admin_tls_certificate_file, settings.admin_tls_key_file
        if certificate is None or key is None:
            return None
        digest = sha256(_read_file("admin_tls_certificate_file", certificate))
        digest.update(_read_file("admin_tls_key_file", key))
        return cls(_make_context(certificate, key), digest.digest())


def _read_file(name: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CannotReadCertificate(f"cannot read {name} {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CannotReadCertificate(f"{name} {path} is larger than {MAX_FILE_BYTES} bytes")
    if b"-----BEGIN" not in data:
        raise CannotReadCertificate(f"{name} {path} is not PEM")
    return data


class _IsEncrypted(Exception):
    """The key has a passphrase."""


def _make_context(certificate: str, key: str) -> ssl.SSLContext:
    def refuse_to_ask() -> str:  # without this, OpenSSL asks at the terminal
        raise _IsEncrypted

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # which would cost us more than who asks for it
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, refuse_to_ask)
    except _IsEncrypted:
        why = "is encrypted, and nobody is there who could be asked for its passphrase"
        raise CannotReadCertificate(f"admin_tls_key_file {key} {why}") from None
    except ssl.SSLError as error:
        names = f"admin_tls_key_file {key} and admin_tls_certificate_file {certificate}"
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CannotReadCertificate(f"{names} do not belong together") from error
        raise CannotReadCertificate(f"{names} are not a key and a certificate: {error.reason}") from error
    except OSError as error:  # it was there a moment ago
        raise CannotReadCertificate(f"cannot read {certificate} or {key}: {error.strerror}") from error
    return context
