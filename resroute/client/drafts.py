"""Making instances of frozen classes in a third of the time, where one is made for each call."""

from collections.abc import Callable
from typing import Any

import attrs


def maker[T: attrs.AttrsInstance](kind: type[T]) -> Callable[..., T]:
    """What makes instances of one of attrs's frozen classes with slots, from all its fields in their order.

    A frozen class has to go round its own ``__setattr__`` for each field. A class with the same slots that is not frozen
    fills them at once, and what it has made is then said to be of the frozen class. Converters and validators do not run.
    """
    names = [field.name for field in attrs.fields(kind)]
    draft = attrs.make_class(kind.__name__, names, slots=True)

    def make(*values: Any) -> T:
        made: Any = draft(*values)
        made.__class__ = kind
        frozen: T = made
        return frozen

    return make
