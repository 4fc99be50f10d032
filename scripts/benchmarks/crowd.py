"""A thousand instances on a router, each a connection of its own, and operations that are spread over all of them."""

import random
import re
import resource
import select
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import batched, count
from typing import Self

import orjson

from benchmarks.accounting import cpu_seconds
from benchmarks.core_figures import EACH, INSTANCES, resource_id
from benchmarks.wire import Client, RequestFailed, pipeline, request, wait_ready

AT_A_TIME = 8  # instances that have requests in flight
IN_FLIGHT = 8  # of each of them
CALLERS = 4
CALLS_IN_FLIGHT = 16  # of each caller
PAYLOAD = "x" * 200

_DESCRIPTORS = 4 * INSTANCES
_IDLE_SECONDS = 0.005
_CORRELATION = re.compile(rb'"id":\s*(\d+)')

SETTINGS = {
    "max_resources_per_instance": 2 * EACH,
    # a thousand Pings every ten seconds would be noise in what is measured
    "heartbeat_interval_seconds": 3600,
    "heartbeat_timeout_seconds": 7200,
}
"""For a router that a crowd is on."""


class Crowd:
    """Instances of one service, and what each owns: numbers, which :func:`resource_id` makes ids of.

    Args:
        metadata_of: what each of them says of itself. By default nothing.
    """

    def __init__(
        self, port: int, pid: int, *, metadata_of: Callable[[int], Mapping[str, object]] | None = None
    ) -> None:
        make_room_for_connections()
        self._port = port
        self._pid = pid
        self._metadata_of = metadata_of
        self._chance = random.Random(1)
        self._numbers = count()
        self.owned: dict[Client, list[int]] = {}
        self._callers: list[Client] = []
        self._chosen: list[Client] = []
        try:
            for _ in range(INSTANCES):
                self._join()
            self._callers += (Client(port) for _ in range(CALLERS))
        except BaseException:
            self.leave()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """All connections end, without a goodbye."""
        for client in (*self.owned, *self._callers):
            client.drop()

    def _join(self) -> Client:
        instance = Client(self._port)
        self.owned[instance] = []
        instance.request("instance.register", {"service_name": "crowd"})
        return instance

    def fill(self, each: int = EACH) -> None:
        """Each instance registers so many resources, in one request."""
        for instance in self.owned:
            self._register(instance, each)

    def replace(self, instances: int, *, per_request: int) -> None:
        """So many instances drop, one after the other, and as many come, which register their resources again."""
        for instance in self._chance.sample(list(self.owned), instances):
            instance.drop()
            each = len(self.owned.pop(instance))
            newcomer = self._join()
            for some in batched(range(each), per_request, strict=False):
                self._register(newcomer, len(some))

    def _register(self, instance: Client, resources: int) -> None:
        taken = [next(self._numbers) for _ in range(resources)]
        params: dict[str, object] = {"resource_ids": list(map(_id, taken))}
        if self._metadata_of is not None:
            params["metadata"] = {_id(number): self._metadata_of(number) for number in taken}
        instance.request("resource.register", params)
        self.owned[instance] += taken

    # --- what an operation costs: the router's CPU in seconds, for each of so many -------------------------------

    def register(self, operations: int) -> float:
        """Register as many resources, each in a request of its own; some instances as many as may be in flight."""
        self._chosen = self._chance.sample(list(self.owned), operations // IN_FLIGHT)
        requests: dict[Client, list[bytes]] = {}
        for instance in self._turns():
            number = next(self._numbers)
            self.owned[instance].append(number)
            requests.setdefault(instance, []).append(_request("resource.register", number))
        return self._cost(requests, operations)

    def release(self, operations: int) -> float:
        """Those that have just registered some release as many, any of all they own."""
        requests: dict[Client, list[bytes]] = {}
        for instance in self._turns():
            numbers = self.owned[instance]
            at = self._chance.randrange(len(numbers))
            numbers[at], numbers[-1] = numbers[-1], numbers[at]
            requests.setdefault(instance, []).append(_request("resource.release", numbers.pop()))
        return self._cost(requests, operations)

    def _turns(self) -> Iterator[Client]:
        return (instance for instance in self._chosen for _ in range(IN_FLIGHT))

    def _cost(self, requests: dict[Client, list[bytes]], operations: int) -> float:
        began = self._cpu_seconds()
        for some in batched(requests.items(), AT_A_TIME, strict=False):
            pipeline(dict(some), IN_FLIGHT)
        return (self._cpu_seconds() - began) / operations

    def call(self, operations: int) -> float:
        """Make as many calls, each to any one of all the resources there are."""
        owned = list(self.owned.values())
        params = {"method": "m", "params": {"payload": PAYLOAD}}
        calls = [
            request(number, "route.call", {"resource_id": _id(self._chance.choice(numbers))} | params)
            for number, numbers in enumerate(self._chance.choices(owned, k=operations))
        ]
        with select.epoll() as poll:
            instances = {instance.fileno(): instance for instance in self.owned}
            callers = {caller.fileno(): caller for caller in self._callers}
            for descriptor in (*instances, *callers):
                poll.register(descriptor, select.EPOLLIN)
            began = self._cpu_seconds()
            for caller in self._callers:
                caller.send(*(calls.pop() for _ in range(CALLS_IN_FLIGHT)))
            missing = operations
            while missing:
                for descriptor, _ in wait_ready(poll):
                    if descriptor in instances:
                        _answer(instances[descriptor])
                        continue
                    caller = callers[descriptor]
                    for message in caller.receive_ready():
                        answer = orjson.loads(message)
                        if "error" in answer:
                            raise RequestFailed(answer["error"])
                        missing -= 1
                        if calls:
                            caller.send(calls.pop())
            return (self._cpu_seconds() - began) / operations

    def _cpu_seconds(self) -> float:
        """What the router has used when it has nothing to do any more."""
        time.sleep(_IDLE_SECONDS)
        return cpu_seconds(self._pid)


def _id(number: int) -> str:
    return resource_id(*divmod(number, EACH))


def _request(method: str, number: int) -> bytes:
    return request(number, method, {"resource_ids": [_id(number)]})


def _answer(instance: Client) -> None:
    """Answer the calls that have come."""
    for message in instance.receive_ready():
        called = _CORRELATION.search(message)
        assert called is not None
        instance.send(b'{"jsonrpc":"2.0","id":%b,"result":true}' % called[1])


def make_room_for_connections(descriptors: int = _DESCRIPTORS) -> None:
    """Raise this process's limit of open files, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        wanted = descriptors if hard == resource.RLIM_INFINITY else min(descriptors, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
