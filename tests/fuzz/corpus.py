"""What is kept in files: messages that were, or nearly were, the undoing of some decoder."""

from pathlib import Path

_FOLDER = Path(__file__).parent / "corpus"

MESSAGES = tuple(path.read_bytes() for path in sorted((_FOLDER / "messages").iterdir()))
"""Texts, each one message, batch or pack of lines, or something that is none."""

STREAMS = tuple(path.read_bytes() for path in sorted((_FOLDER / "streams").iterdir()))
"""What a peer sends after the handshake: frames."""
