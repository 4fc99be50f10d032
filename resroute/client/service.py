"""What an instance serves, and what it does around the coming and going of its resources."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs

from resroute.client.calls import Call, Handler
from resroute.client.changes import Acquired
from resroute.client.methods import Method, handler_for, invoke

_log = logging.getLogger("resroute.client")

HOOK_SECONDS = 30.0
"""How long a hook may take by default."""


@attrs.frozen(kw_only=True)
class Releasing:
    """A resource that this instance is about to give up. No call for it is at work, and none begins.

    Attributes:
        epoch: of the grant that ends.
        cause: ``transfer``, ``drain``, or ``request`` for a release.
        to: the instance that is to own it; None: nobody, or nobody that this instance knows of.
    """

    resource_id: str
    epoch: int
    cause: Literal["transfer", "drain", "request"]
    to: str | None = None


BeforeRelease = Callable[[Releasing], Any]
"""Returns what the next owner needs to go on, anything that JSON can say, or an awaitable of that."""
AfterAcquire = Callable[[Acquired], object]
"""Returns when calls may come, or an awaitable that does."""


class Service:
    """What to serve, with hooks around the coming and going of resources.

    ```python
    service = resroute.Service(documents)


    @service.before_release
    async def save(releasing: resroute.Releasing) -> object:
        return documents.texts.pop(releasing.resource_id)


    @service.after_acquire
    async def load(acquired: resroute.Acquired) -> None:
        text = acquired.state or await read_from_disk(acquired.resource_id)
        documents.texts[acquired.resource_id] = text


    async with client.open_instance("documents", service) as instance:
        ...
    ```

    A hook is a function, async or not; one that is not must not block. Up to 100 run at a time, each for another resource.
    Between the two hooks of one resource no call for it is at work: calls that arrive wait, each for its own time.

    Its methods are those of an object, or functions that are given one by one:

    ```python
    service = resroute.Service()


    @service.fenced
    async def save(call: resroute.OwnedCall, text: str, version: int = 1) -> None:
        await database.write(call.resource_id, call.epoch, text, version)
    ```

    Args:
        target: whatever :meth:`resroute.Client.open_instance` takes: an object with methods, or a function. It gets the calls
            of methods that are not given one by one.
        hook_seconds: the longest that a hook may take; and how long ``before_release`` waits for calls at work.
    """

    def __init__(self, target: object = None, *, hook_seconds: float = HOOK_SECONDS) -> None:
        self.target = target
        self._methods: dict[str, Method] = {}
        self.hook_seconds = hook_seconds
        self._before_release: BeforeRelease | None = None
        self._after_acquire: AfterAcquire | None = None

    def method[F: Callable[..., object]](self, function: F) -> F:
        """Have callers call this function by its name.

        It may be async, or an async generator (whose values are progress: see :meth:`resroute.Call.progress`). One that is
        neither must not block. Params, by name or by position, become arguments. A first parameter that is annotated with
        :class:`resroute.Call`, or :class:`resroute.OwnedCall`, gets the call, and callers see nothing of it.

        Annotated parameters take what fits, and nothing else: numbers, texts, lists, dictionaries and tuples of them,
        ``Literal``, enumerations, times in ISO 8601, UUIDs, ``TypedDict``, dataclasses and classes of attrs. A caller
        whose params do not fit gets -32602 with the path and the reason of each mistake, and nothing runs. What a
        function returns may consist of the same.

        Raises:
            TypeError: a parameter says a type that JSON has nothing for, or that cannot be found out; or it is a generator
                that is not async.
            ValueError: there is a method of that name already.
        """
        self._add(function, is_fenced=False)
        return function

    def fenced[F: Callable[..., object]](self, function: F) -> F:
        """As :meth:`method`, for one that runs only while this instance owns the resource that is called.

        That is asked right before it begins, so after whatever the call has waited for here. A call under another epoch is
        answered ``stale_epoch``: it has not run, and the router takes it to the owner that there is now. A call that names
        no resource is refused. Hand the call's ``epoch`` on to whatever you write to: what happens to ownership while the
        function runs only that can see.
        """
        self._add(function, is_fenced=True)
        return function

    def _add(self, function: Callable[..., object], *, is_fenced: bool) -> None:
        name = function.__name__
        if name in self._methods:
            raise ValueError(f"this service has a method {name!r} already")
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"{name} is a generator that is not async: callers would get nothing of it")
        self._methods[name] = Method(name, function, is_strict=True, is_fenced=is_fenced)

    @property
    def handler(self) -> Handler:
        """What answers the calls.

        Raises:
            TypeError: it has no methods.
        """
        if self.target is None and not self._methods:
            raise TypeError("this service has no methods")
        others = None if self.target is None else handler_for(self.target)
        methods = self._methods.copy()
        if not methods:
            assert others is not None
            return others

        def answer(call: Call) -> object:
            if others is not None and call.method not in methods:
                return others(call)
            return invoke(methods, call)

        return answer

    @property
    def hooks(self) -> "Hooks":
        """Those there are now."""
        return Hooks(self._before_release, self._after_acquire, self.hook_seconds)

    def before_release[F: Callable[[Releasing], Any]](self, hook: F) -> F:
        """Run this before this instance gives a resource up: by a transfer, a drain, a release, or at the end of a block.

        It runs once the calls for the resource that had begun have ended, but for one that asks for this itself. Later
        ones wait. Then the resource changes hands, and they are sent on to the new owner: none of them has run here. What the
        hook returns travels along, as ``state``, to the new owner; if there is none it is dropped.

        If the hook raises, or it or a call before it takes longer than ``hook_seconds``, a transfer or a release is off:
        it raises that, or ``trio.TooSlowError``, and everything stays here. Of several that fail in one moment the first
        error is raised, with a note of the others. An instance that leaves cannot wait, nor can a
        block of ``own``, whose end has 5 seconds: then it is logged, and the resource goes without state.

        When the resource stays after all, because the router refuses or because it was the hook of another one that raised,
        ``after_acquire`` is run with what this has returned as ``state``, and the cause ``kept``.

        It does not run for what is taken away: by force, by an administrator, by a connection that ends, by expiry, or by a
        router that moves resources on its own account. See :meth:`resroute.Instance.open_changes`.
        """
        if self._before_release is not None:
            raise ValueError("this service has a hook before_release already")
        self._before_release = hook
        return hook

    def after_acquire[F: Callable[[Acquired], object]](self, hook: F) -> F:
        """Run this when this instance has come to own a resource, before the first call for it begins.

        With the cause ``transfer`` for what another handed over, ``request`` for what this instance has registered, before
        ``register`` returns, or again after its connection had ended, ``resume`` for what an earlier program of its name has
        left to it, and ``kept`` for what it was about to give up. A ``state`` comes with what the earlier owner itself has
        handed over, and with ``kept``; what the router moves comes without.

        It does not run for what an instance resumes that has never stopped: nobody else has owned it in between.

        If the hook raises, or takes longer than ``hook_seconds``, this instance cannot serve the resource: it is logged, and
        the resource is released, so that somebody else can have it. Calls that waited have not run. A ``register``
        raises what the hook has raised, a group if there were several; resources whose hooks were done stay registered.
        A resource that is lost meanwhile has its hook cancelled.
        """
        if self._after_acquire is not None:
            raise ValueError("this service has a hook after_acquire already")
        self._after_acquire = hook
        return hook


@attrs.frozen
class Hooks:
    """What to run, if anything."""

    before_release: BeforeRelease | None = None
    after_acquire: AfterAcquire | None = None
    seconds: float = HOOK_SECONDS


def parts_of(service: object) -> tuple[Handler, Hooks]:
    """What answers the calls, and the hooks; most services have none."""
    if isinstance(service, Service):
        return service.handler, service.hooks
    return handler_for(service), Hooks()


async def run_hook(hook: Callable[[Any], Any], about: object) -> Any:
    """Run a hook, whether it is async or not."""
    try:
        result = hook(about)
        return await result if isinstance(result, Awaitable) else result
    except BaseExceptionGroup as group:
        # an error may come together with a cancellation, and must not end more than the hook
        errors, rest = group.split(Exception)
        if rest is None:
            raise
        _log.error("hook_failed about=%r", about, exc_info=errors)
        raise rest from None
