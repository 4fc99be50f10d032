"""Instances of frozen classes that are made faster than they make themselves."""

import attrs
import pytest

from resroute.client.calls import Call, Caller
from resroute.client.drafts import maker


def test_what_a_maker_makes_is_what_the_class_itself_makes() -> None:
    plain = Caller("session-1", "instance-1", "alice")
    made = maker(Caller)("session-1", "instance-1", "alice", None, None)
    assert type(made) is Caller
    assert (made, hash(made), repr(made)) == (plain, hash(plain), repr(plain))
    assert attrs.evolve(made, subject="bob") == Caller("session-1", "instance-1", "bob")


def test_a_maker_takes_all_fields_in_their_order() -> None:
    names = [field.name for field in attrs.fields(Call)]
    made = maker(Call)(*names)
    assert {name: getattr(made, name) for name in names} == {name: name for name in names}
    with pytest.raises(TypeError):
        maker(Call)(*names[1:])


def test_what_a_maker_makes_is_frozen() -> None:
    made = maker(Caller)("session-1", None, None, None, None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.subject = "bob"  # type: ignore[misc]
