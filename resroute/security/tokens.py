"""The tokens of administrators: what is kept of them, and whose one is."""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Self

import attrs

from resroute.settings import Settings, is_administrator_token

MAX_FILE_BYTES = 1024 * 1024
UNNAMED = "administrator"
"""Who gives a token that is kept without a name."""

_HASHED = "sha256:"


class CannotReadTokens(Exception):
    """The file of tokens cannot be read, or not as one; the text is one line for people, and has nothing secret in it."""


@attrs.frozen
class KnownToken:
    """What is kept of one token, and whose it is."""

    subject: str
    digest: bytes = attrs.field(repr=False)


class AdministratorTokens:
    """All tokens that let somebody in. Of a token there is only its SHA-256.

    Args:
        entries: as the setting ``admin_tokens`` has them. Several may have the same name.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._kept = tuple(map(_keep, entries))

    @classmethod
    def read(cls, settings: Settings) -> Self:
        """Those that the settings and the file that they name have.

        Raises:
            CannotReadTokens: the file cannot be read.
        """
        entries = list(settings.admin_tokens)
        if settings.admin_tokens_file is not None:
            entries += _read_file(Path(settings.admin_tokens_file))
        return cls(entries)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def __contains__(self, known: object) -> bool:
        return known in self._kept

    def find(self, token: str) -> KnownToken | None:
        """What is known of a token; None if it is nobody's. Takes the same time for each that is wrong."""
        digest = sha256(token.encode(errors="surrogateescape")).digest()
        found = None
        for kept in self._kept:
            if hmac.compare_digest(kept.digest, digest):
                found = kept
        return found


def _keep(entry: str) -> KnownToken:
    name, colon, token = entry.partition(":")
    if not colon or name + colon == _HASHED:
        name, token = UNNAMED, entry
    if token.startswith(_HASHED):
        return KnownToken(name, bytes.fromhex(token.removeprefix(_HASHED)))
    return KnownToken(name, sha256(token.encode()).digest())


def _read_file(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except OSError as error:
        raise CannotReadTokens(f"cannot read admin_tokens_file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CannotReadTokens(f"admin_tokens_file {path} is not UTF-8") from error
    if len(text) > MAX_FILE_BYTES:
        raise CannotReadTokens(f"admin_tokens_file {path} is larger than {MAX_FILE_BYTES} bytes")
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if not is_administrator_token(entry):
            raise CannotReadTokens(f"admin_tokens_file {path}: line {number} is not NAME:TOKEN")
        entries.append(entry)
    if not entries:
        raise CannotReadTokens(f"admin_tokens_file {path} holds no token")
    return entries
