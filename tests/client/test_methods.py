"""From an object with methods to answers: which methods a service has, and how params become arguments."""

import functools
from typing import Any

import pytest

from resroute import Call, RemoteError
from resroute.client.methods import handler_for


class Base:
    def inherited(self) -> str:
        return "inherited"


class Service(Base):
    default = 7

    def __init__(self) -> None:
        self.stored = print
        self.ran: list[str] = []

    def add(self, a: int, b: int = 1, *, scale: int = 1) -> int:
        self.ran.append("add")
        return (a + b) * scale

    def strict(self, *, needed: int) -> int:
        self.ran.append("strict")
        return needed

    def many(self, first: int, *rest: int, **named: int) -> list[Any]:
        return [first, rest, named]

    def by_place(self, a: int, b: int = 2, /) -> int:
        return a + b

    def mixed(self, a: int, /, **named: int) -> list[Any]:
        return [a, named]

    def nothing(self) -> str:
        return "nothing"

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls, a: int) -> str:
        return f"{cls.__name__} {a}"

    @functools.lru_cache(maxsize=1)  # noqa: B019  # one more kind of what is called like a method
    def cached(self, a: int) -> int:
        return a

    @property
    def looked_at(self) -> int:
        raise AssertionError("a property is not to be looked into")

    @functools.cached_property
    def looked_at_once(self) -> int:
        raise AssertionError("nor such a one")

    def _private(self) -> str:
        raise AssertionError("not for callers")

    class Nested:
        pass


def ask(method: str, params: Any = None) -> object:
    return handler_for(Service())(Call(method, params))


@pytest.mark.parametrize(
    ("method", "params", "answer"),
    [
        ("add", {"a": 1}, 2),
        ("add", {"b": 2, "a": 1, "scale": 10}, 30),
        ("add", [1], 2),
        ("add", [1, 5], 6),
        ("strict", {"needed": 3}, 3),
        ("many", [1], [1, (), {}]),
        ("many", [1, 2, 3], [1, (2, 3), {}]),
        ("many", {"first": 1, "other": 2}, [1, (), {"other": 2}]),
        ("by_place", [1], 3),
        ("by_place", [1, 1], 2),
        ("mixed", [1], [1, {}]),
        ("nothing", None, "nothing"),
        ("nothing", {}, "nothing"),
        ("nothing", [], "nothing"),
        ("static", {"a": 4}, 4),
        ("of_class", [4], "Service 4"),
        ("cached", [4], 4),
        ("inherited", None, "inherited"),
    ],
)
def test_params_become_arguments(method: str, params: Any, answer: object) -> None:
    assert ask(method, params) == answer


@pytest.mark.parametrize(
    ("method", "params", "errors"),
    [
        ("add", {}, {"a": "is missing"}),
        ("add", None, {"a": "is missing"}),
        ("add", [], {"a": "is missing"}),
        ("add", {"a": 1, "c": 2}, {"c": "is no parameter of add"}),
        ("add", {"c": 2}, {"a": "is missing", "c": "is no parameter of add"}),
        ("add", [1, 2, 3], {"": "add takes at most 2 params by position, not 3"}),
        ("strict", [1], {"": "strict takes at most 0 params by position, not 1", "needed": "is missing"}),
        ("strict", {}, {"needed": "is missing"}),
        ("many", [], {"first": "is missing"}),
        ("many", {"other": 2}, {"first": "is missing"}),
        ("mixed", {"a": 1, "b": 2}, {"": "mixed takes its params by position"}),
        ("by_place", {"a": 1}, {"a": "is no parameter of by_place"}),
        ("by_place", {}, {"a": "is missing"}),
        ("nothing", {"a": 1}, {"a": "is no parameter of nothing"}),
        ("nothing", [1], {"": "nothing takes at most 0 params by position, not 1"}),
    ],
)
def test_wrong_params_are_named_and_nothing_runs(method: str, params: Any, errors: dict[str, str]) -> None:
    service = Service()
    with pytest.raises(RemoteError) as caught:
        handler_for(service)(Call(method, params))
    assert caught.value.code == -32602
    assert {error["path"]: error["message"] for error in caught.value.data["errors"]} == errors
    for name, message in errors.items():
        assert name in caught.value.message
        assert message in caught.value.message
    assert service.ran == []


@pytest.mark.parametrize(
    "method",
    [
        "missing",
        "_private",
        "__init__",
        "__class__",
        "default",
        "stored",
        "ran",
        "looked_at",
        "looked_at_once",
        "Nested",
        "",
    ],
)
def test_only_public_methods_of_the_class_can_be_called(method: str) -> None:
    with pytest.raises(RemoteError) as caught:
        ask(method)
    assert caught.value.code == -32601
    assert caught.value.data == {"method": method}


def test_a_function_gets_the_call_as_it_is() -> None:
    def handle(call: Call) -> object:
        return [call.method, call.params]

    class Holder:
        def handle(self, call: Call) -> object:
            return [call.method, call.params]

    for handler in (handle, Holder().handle, functools.partial(handle)):
        assert handler_for(handler)(Call("any.method", {"a": 1})) == ["any.method", {"a": 1}]


@pytest.mark.parametrize("service", [Service, object(), pytest])
def test_what_cannot_be_a_service_is_refused(service: object) -> None:
    with pytest.raises(TypeError):
        handler_for(service)
