"""What stands in the fields of forms, as the router takes it."""

import msgspec
from msgspec import Raw


class NotJson(Exception):
    """What stands in a field is not what it should hold; the text says what is wrong."""


def json_field(text: str, what: str) -> Raw:
    """A field that holds JSON, as it stands there.

    Raises:
        NotJson: it does not.
    """
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotJson(f"The {what} are not JSON: {error}.") from None
    return Raw(text.encode())


def number_field(text: str, what: str) -> Raw:
    """A field that holds a number; whether it can be that is for the router to say.

    Raises:
        NotJson: it does not.
    """
    try:
        msgspec.json.decode(text, type=float)
    except msgspec.DecodeError:
        raise NotJson(f"The {what} is not a number.") from None
    return Raw(text.encode())


def split_tags(text: str) -> list[str]:
    """The tags in a field."""
    return [tag.strip() for tag in text.split(",") if tag.strip()]
