"""What happens in one schedule: sessions that call, own, vanish, hang and blunder at every moment, all from one seed."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from trio._core import _run as trio_scheduler  # the only handle on the order in which it runs tasks
from trio.testing import MockClock

from resroute.settings import Heartbeat, Settings
from resroute.telemetry.exporting import SpanMemory
from resroute.telemetry.tracing import Tracer
from resroute.transport.interface import JSON, MSGPACK, NDJSON
from tests.faults.audited import find_unrecorded
from tests.faults.counted import find_miscounted
from tests.faults.histories import Follower, Histories
from tests.records import Word
from tests.scenario import Json, Left, Party, Pending, Refused, Scenario, open_scenario

RESOURCES = ("r1", "r2", "r3", "r4")
TTLS = {"r4": 1.5}
"""What expires, and when: whoever registers it says so."""
SERVICES = ("red", "blue")
QUERIES: tuple[Json, ...] = (
    {},
    {"tags": ["a"], "limit": 1},
    {"resource_type": "page", "tags": ["a", "b"]},
    {"prefix": "r", "service_name": "red"},
    {"instance_id": "instance-0", "prefix": "r2"},
    {"resource_ids": ["r1", "r4"], "offset": 1},
    {"limit": 0},
    {"cursor": "nonsense"},
)
STEPS = 14


def run_seed(seed: int, words: list[Word] | None = None) -> None:
    """Run the schedule of a seed, the same way every time.

    Args:
        words: is filled with what every session said and heard, in order.

    Raises:
        Exception: the checker has found something.
    """
    scheduler: Any = trio_scheduler
    was_deterministic = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    try:
        trio.run(_run_schedule, seed, [] if words is None else words, clock=MockClock(autojump_threshold=0))
    except Exception as error:
        error.add_note(f"Again, with all that was said: python -m tests.faults --from {seed} --transcript")
        raise
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = was_deterministic


async def _run_schedule(seed: int, words: list[Word]) -> None:
    rng = random.Random(seed)
    spans = SpanMemory()
    async with open_scenario(
        _settings(rng), seed=seed, is_lagging=rng.random() < 0.4, tracer=Tracer(spans)
    ) as scenario:
        scenario.checker.words = words
        scenario.checker.ttls = TTLS
        world = _World(scenario, rng)
        async with trio.open_nursery() as nursery:
            for number in range(rng.randint(1, 3)):
                nursery.start_soon(_Instance(world, f"instance-{number}").live)
            for number in range(rng.randint(1, 3)):
                nursery.start_soon(_Caller(world, f"caller-{number}").live)
            for number in range(rng.choice((0, 1, 2))):
                nursery.start_soon(_Watcher(world, f"watcher-{number}").live)
            nursery.start_soon(world.strike)
            if rng.random() < 0.2:
                nursery.start_soon(world.drain)
        for actor in world.actors:
            if isinstance(actor, _Watcher):
                actor.follower.check()
    assert not (faults := find_unrecorded(words, scenario.router)), "\n".join(faults)
    assert not (faults := list(find_miscounted(scenario.router))), "\n".join(faults)
    assert not +spans.open, f"spans that never end: {+spans.open}"


def _settings(rng: random.Random) -> Settings:
    is_narrow = rng.random() < 0.3
    return Settings(
        anonymous_roles=("caller", "instance", "admin"),
        heartbeat=Heartbeat(interval_seconds=rng.choice((2.0, 10.0)), timeout_seconds=25.0),
        max_resources_per_instance=rng.choice((3, 1000)),
        max_calls_in_flight=rng.choice((4, 1024, 1024)),
        max_message_bytes=rng.choice((4096, 1024 * 1024)),
        outbox_soft_bytes=2000 if is_narrow else 1024 * 1024,
        max_outbox_bytes=20_000 if is_narrow else 16 * 1024 * 1024,
        default_timeout_seconds=rng.choice((1.0, 30.0)),
        drain_seconds=rng.choice((0.0, 1.0, 10.0)),
        transfer_across_services=rng.random() < 0.5,
        max_queued_calls=rng.choice((2, 5, 256)),
        max_waiters_per_resource=rng.choice((2, 1000)),
        max_waiters_per_session=rng.choice((2, 100)),
        watch_history_events=rng.choice((4, 200_000, 200_000)),
    )


class _World:
    """What all who live in a schedule share."""

    def __init__(self, scenario: Scenario, rng: random.Random) -> None:
        self.scenario = scenario
        self.rng = rng
        self.actors: list[_Actor] = []
        self.histories = Histories()
        self.session_ids: list[str] = []  # of callers, as their callees were told
        self.epochs: dict[
            str, int
        ] = {}  # the highest that anybody was called at: what storage with fencing knows
        self.versions: dict[str, int] = {}  # of metadata, the last that anybody has heard of
        self._pace = rng.choice((0.01, 0.1, 1.0))

    async def pause(self) -> None:
        """Often no time at all, sometimes long."""
        match self.rng.randrange(10):
            case 0 | 1 | 2 | 3:
                for _ in range(self.rng.randrange(6)):
                    await trio.lowlevel.checkpoint()
            case 4 | 5 | 6:
                await trio.sleep(self._pace)
            case 7 | 8:
                await trio.sleep(self.rng.uniform(0, 2 * self._pace))
            case _:
                await trio.sleep(self.rng.choice((0.5, 3.0)))

    async def strike(self) -> None:
        """Have several sessions vanish in the same tick, now and then."""
        for _ in range(self.rng.randrange(4)):
            await trio.sleep(self.rng.uniform(0, 20 * self._pace))
            await self.pause()
            for actor in self.rng.sample(self.actors, min(len(self.actors), self.rng.randint(1, 3))):
                if actor.party is not None:
                    actor.party.drop()

    async def drain(self) -> None:
        """Have the router stop some time."""
        await trio.sleep(self.rng.uniform(0, 30 * self._pace))
        await self.scenario.router.drain()


class _Actor:
    """Who lives through a schedule, in one session after another."""

    def __init__(self, world: _World, name: str) -> None:
        self.world = world
        self.rng = world.rng
        self.name = name
        self.party: Party | None = None
        self.calls: list[Pending] = []
        world.actors.append(self)

    async def live(self) -> None:
        """Take one step after another."""
        actions = [action for action, weight in self.actions() for _ in range(weight)]
        for _ in range(STEPS):
            await self.world.pause()
            if self.party is None or self.party.ended is not None:
                self.party = await self.connect()
            await self.rng.choice(actions)(self.party)
        if self.party is not None and self.party.record.is_deaf:
            self.party.resume()

    async def connect(self) -> Party:
        """A new session."""
        party = await self.world.scenario.connect(
            self.name,
            target=self.target(),
            subprotocol=self.rng.choice((NDJSON, NDJSON, JSON, MSGPACK)),
            buffer_bytes=self.rng.choice((0, 300, 64 * 1024, 64 * 1024)),
        )
        if self.rng.random() < 0.1:
            party.read_slowly(self.rng.choice((0.01, 0.5)))
        self.calls = []
        self.world.scenario.start_soon(self.work, party)
        return party

    def target(self) -> str:
        """Where it connects."""
        return "/"

    def actions(self) -> list[tuple[Callable[[Party], Awaitable[None]], int]]:
        """What it may do in a step, and how likely each is."""
        return [
            (self.call, 20),
            (self.call_many, 6),
            (self.flood, 3),
            (self.cancel, 6),
            (self.batch, 3),
            (self.notify, 2),
            (self.ask, 3),
            (self.blunder, 3),
            (self.leave, 2),
            (self.vanish, 2),
            (self.stall, 2),
            (self.lose_everything, 1),
        ]

    # --- as a caller ----------------------------------------------------------------------------------------------

    def params_of_call(self, party: Party) -> Json:
        """The parameters of some call."""
        rng = self.rng
        target: Json = {"resource_id": rng.choice(RESOURCES)}
        if rng.random() < 0.25:
            target = {"service_name": rng.choice(SERVICES)}
        elif rng.random() < 0.1:
            target["service_name"] = rng.choice(SERVICES)
        if "resource_id" in target and rng.random() < 0.25:
            target["wait_for_owner_seconds"] = rng.choice((0.01, 0.5, 5.0, 30.0))
        if rng.random() < 0.5:
            target["timeout_seconds"] = rng.choice((0.01, 0.05, 0.5, 2.0, 20.0))
        filling = "x" * rng.choice((0, 0, 10, 1500))
        params = party.call_params(**target)
        return params | {"params": {"tag": params["trace_id"], "filling": filling}}

    def request_for_call(self, party: Party) -> Json:
        """A message that makes some call, without an id."""
        params = self.params_of_call(party)
        meta: Json = self.rng.choice(({}, {}, {"meta": {}}, {"meta": {"progress": True}}))
        if party.record.bound_to is None:
            return {"method": "route.call", "params": params} | meta
        return {"method": params["method"], "params": params["params"]} | meta

    async def call(self, party: Party) -> None:
        """Make a call."""
        request_id = self.rng.choice((None, None, None, None, -7, "-7"))
        message = self.request_for_call(party)
        if request_id is not None and (type(request_id), request_id) in party.pending:
            await party.say({"id": request_id} | message)
            return
        self.calls.append(await party.start(id=request_id, **message))
        if self.rng.random() < 0.04:
            party.drop()

    async def call_many(self, party: Party) -> None:
        """Make several calls at once, and perhaps take some of them back at once."""
        messages: list[Json] = []
        for number in range(self.rng.randint(2, 8)):
            request_id = f"{len(party.record.words)}-{number}"
            self.calls.append(party.expect(request_id))
            messages.append({"id": request_id} | self.request_for_call(party))
            if self.rng.random() < 0.15:
                messages.append({"method": "$/cancelRequest", "params": {"id": request_id}})
        await party.say(*messages)

    async def flood(self, party: Party) -> None:
        """Want much of one resource at once, with a notification now and then."""
        messages: list[Json] = []
        params = self.params_of_call(party)
        for number in range(self.rng.randint(5, 25)):
            trace_id = self.world.scenario.next_trace_id()
            asked = params | {"trace_id": trace_id, "params": {"tag": trace_id}}
            if party.record.bound_to is not None:
                message: Json = {"method": asked["method"], "params": asked["params"]}
            else:
                message = {"method": "route.call", "params": asked}
            if self.rng.random() < 0.9:
                request_id = f"flood-{len(party.record.words)}-{number}"
                self.calls.append(party.expect(request_id))
                message["id"] = request_id
            messages.append(message)
        await party.say(*messages)

    async def cancel(self, party: Party) -> None:
        """Take a call back, perhaps one that is answered already."""
        if self.calls:
            await party.cancel(self.rng.choice(self.calls[-4:]))

    async def batch(self, party: Party) -> None:
        """Make several calls, and more, in a batch."""
        messages: list[Any] = []
        for number in range(self.rng.randint(1, 5)):
            request_id = f"batch-{len(party.record.words)}-{number}"
            message: Json = {"jsonrpc": "2.0", "id": request_id} | self.request_for_call(party)
            match self.rng.randrange(6):
                case 0:
                    message["method"], message["params"] = "session.ping", {}
                case 1:
                    message["params"] = {"method": 5, "tag": self.world.scenario.next_trace_id()}
                case 2:
                    del message["id"]
            if "id" in message:
                party.expect(request_id)
            messages.append(message)
        await party.say_batch(*messages)

    async def notify(self, party: Party) -> None:
        """Send a notification to somebody."""
        await party.say(self.request_for_call(party))

    async def ask(self, party: Party) -> None:
        """Ask the router something, or on a bound connection whoever is asked there."""
        method = self.rng.choice(
            ("session.info", "session.ping", "resource.query", "instance.query", "no.such")
        )
        is_routers = party.record.bound_to is None or method == "session.ping"
        params: Json = {} if is_routers else {"tag": self.world.scenario.next_trace_id()}
        if is_routers and method == "resource.query":
            params = self.rng.choice(QUERIES)
        await party.start(method, params)

    async def blunder(self, party: Party) -> None:
        """Say what makes no sense."""
        blunder = self.rng.choice(
            (
                None,
                [],
                [1],
                {"jsonrpc": "2.0"},
                {"jsonrpc": "2.0", "id": 1.5, "method": "session.ping"},
                {"jsonrpc": "2.0", "id": -7, "result": 1},
                {"jsonrpc": "2.0", "id": -7, "error": 1},
                {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": None}},
                {"jsonrpc": "2.0", "method": "session.ping"},
            )
        )
        await (party.say_text("{") if blunder is None else party.say_value(blunder))

    # --- leaving --------------------------------------------------------------------------------------------------

    async def leave(self, party: Party) -> None:
        """Say goodbye."""
        if not party.record.is_deaf:
            with trio.move_on_after(5):
                await party.aclose()
        party.drop()

    async def vanish(self, party: Party) -> None:
        """Leave without a word."""
        party.drop()

    async def stall(self, party: Party) -> None:
        """Read nothing for a while."""
        party.stall()
        await trio.sleep(self.rng.choice((0.01, 1.0, 5.0, 40.0)))
        if self.rng.random() < 0.8:
            party.resume()

    async def lose_everything(self, party: Party) -> None:
        """Be cut off, and notice it before or after the router does."""
        party.lose_everything()
        await trio.sleep(self.rng.choice((0.0, 1.0, 12.0, 100.0)))
        party.drop()

    # --- as a callee ----------------------------------------------------------------------------------------------

    async def work(self, party: Party) -> None:
        """Do something about whatever arrives."""
        while party.ended is None:
            try:
                message = await party.next()
            except Left:
                return
            if "id" in message:
                self.world.scenario.start_soon(self.handle, party, message)

    async def push(self, party: Party, request: Json) -> None:
        """Tell whoever calls something, or somebody else."""
        meta = request.get("meta", {})
        if "caller" not in meta:
            return
        self.world.session_ids.append(meta["caller"]["session_id"])
        session_id = self.rng.choice((meta["caller"]["session_id"], self.rng.choice(self.world.session_ids)))
        resource_id = meta.get("resource_id", self.rng.choice(RESOURCES))
        pushed = {"tag": self.world.scenario.next_trace_id(), "filling": "x" * self.rng.choice((0, 0, 1500))}
        params = {"session_id": session_id, "resource_id": resource_id, "method": "pushed", "params": pushed}
        if self.rng.random() < 0.8:
            await party.start("session.notify", params)
        else:
            await party.notify("session.notify", **params)

    async def handle(self, party: Party, request: Json) -> None:
        """Answer a call, some time, somehow, or not. Perhaps tell its caller something before or after."""
        moment = self.rng.randrange(6)
        if moment == 0:
            await self.push(party, request)
        await self.answer(party, request)
        if moment == 1:
            await self.world.pause()
            await self.push(party, request)

    async def tell_parts(self, party: Party, request: Json) -> None:
        """Tell parts of a result, for this call or for another, whether anybody wants them or not."""
        for number in range(self.rng.choice((1, 2, 5, 20))):
            token = request["id"] if self.rng.random() < 0.9 else self.rng.choice((1, "1", request["id"] + 1))
            part: Json = {"token": token, "value": [self.name, request["id"], number]}
            if self.rng.random() < 0.05:
                part["value"] = "x" * self.rng.choice((1500, 6000))
            elif self.rng.random() < 0.05:
                part = self.rng.choice(({"token": token}, {"value": 1}, {"token": None, "value": 1}))
            await party.notify("$/progress", **part)
            if self.rng.random() < 0.5:
                await self.world.pause()

    def is_stale(self, request: Json) -> bool:
        """Whether a call is one to refuse: another was called at a later epoch. Now and then that is a mistake."""
        resource_id, epoch = request.get("meta", {}).get("resource_id"), request.get("meta", {}).get("epoch")
        if epoch is None:
            return self.rng.random() < 0.02
        known = self.world.epochs[resource_id] = max(self.world.epochs.get(resource_id, 0), epoch)
        return epoch < known or self.rng.random() < 0.05

    async def answer(self, party: Party, request: Json) -> None:
        """Answer a call, some time, somehow, or not."""
        if self.is_stale(request):
            await party.fail(request, 409, "stale epoch", data={"type": "stale_epoch"})
            return
        moment = self.rng.randrange(12)
        if moment < 4:
            await self.tell_parts(party, request)
        await self.finish(party, request)
        if moment == 4:
            await self.tell_parts(party, request)

    async def finish(self, party: Party, request: Json) -> None:
        """Give the answer to a call, or several, or none."""
        answer: Json = {"id": request["id"], "result": [request["params"].get("tag"), self.name]}
        match self.rng.randrange(24):
            case 0 | 1 | 2 | 3 | 4 | 5:
                await self.world.pause()
                await party.say(answer)
            case 6 | 7:
                # some of these are the very moment of a deadline
                await trio.sleep(self.rng.choice((0.01, 0.05, 0.5, 2.0, 20.0)))
                await party.say(answer)
            case 8 | 9:
                await party.fail(request, 5, "no", data={"type": "resource_not_found"})
            case 10:
                await party.say(answer, answer | {"result": "second"})
            case 11:
                await party.say({"id": request["id"], "result": 1, "error": {"code": 1, "message": "both"}})
            case 12:
                await party.say({"id": request["id"], "error": {"code": "one"}})
            case 13:
                await party.say({"id": request["id"] + 1, "result": "guessed"}, answer)
            case 14:
                party.drop()
            case 15:
                await party.say(answer)
                party.drop()
            case 16:
                pass
            case 17:
                await party.say(answer | {"result": "x" * 5000, "meta": {"origin": "router"}})
            case _:
                await party.say(answer)


class _Caller(_Actor):
    """Calls only, on some of its connections what it is bound to."""

    def target(self) -> str:
        return self.rng.choice(
            (
                *("/", "/", "/"),
                f"/resources/{self.rng.choice(RESOURCES)}",
                f"/resources/{self.rng.choice(RESOURCES)}?owner_changes=true&timeout_seconds=0.5",
                f"/services/{self.rng.choice(SERVICES)}",
                f"/resources/{self.rng.choice(RESOURCES)}?progress=true",
            )
        )


class _Instance(_Actor):
    """Owns resources, and calls too."""

    def __init__(self, world: _World, name: str) -> None:
        super().__init__(world, name)
        self.tokens: list[tuple[str, str]] = []  # with the services that they are for

    async def connect(self) -> Party:
        party = await super().connect()
        params: Json = {"service_name": self.rng.choice(SERVICES), "priority": self.rng.choice((0, 0, 1))}
        if self.rng.random() < 0.8:
            params["instance_id"] = self.name
        if self.rng.random() < 0.6:
            params["resume_grace_seconds"] = self.rng.choice((0.2, 3.0, 20.0))
        if self.tokens and self.rng.random() < 0.9:
            service_name, token = self.rng.choice((*self.tokens[-2:], *self.tokens[-1:] * 4))
            params |= {"resume_token": token}
            if self.rng.random() < 0.9:
                params["service_name"] = service_name
        if self.rng.random() < 0.5:
            params["max_concurrency"] = self.rng.choice((1, 2))
        if self.rng.random() < 0.1:
            params["plain"] = True
        pending = await party.start("instance.register", params)
        self.world.scenario.start_soon(self._note_token, params["service_name"], pending)
        return party

    async def _note_token(self, service_name: str, pending: Pending) -> None:
        with suppress(Left, Refused):  # it is refused, or the answer is lost
            self.tokens.append((service_name, (await pending.result())["resume_token"]))

    async def come_back(self, _party: Party) -> None:
        """Take the connection for lost that it has, and open another."""
        self.party = await self.connect()

    def actions(self) -> list[tuple[Callable[[Party], Awaitable[None]], int]]:
        return [
            *super().actions(),
            (self.register, 20),
            (self.wait, 12),
            (self.release, 8),
            (self.bulk, 6),
            (self.register_for_another, 1),
            (self.renew, 4),
            (self.update, 4),
            (self.transfer, 8),
            (self.end_somebody, 1),
            (self.drain, 2),
            (self.rebalance, 3),
            (self.come_back, 10),
        ]

    def _some(self) -> list[str]:
        return self.rng.sample(RESOURCES, self.rng.randint(1, 3))

    def _registration(self) -> Json:
        resource_ids = self._some()
        params: Json = {"resource_ids": resource_ids}
        metadata = {name: {"ttl_seconds": TTLS[name]} for name in resource_ids if name in TTLS}
        return params | {"metadata": metadata} if metadata else params

    async def register(self, party: Party) -> None:
        """Take resources, one way or another."""
        params = self._registration()
        params |= self.rng.choice(({}, {"partial": True}, {"force": True}, {"force": True, "partial": True}))
        await party.start("resource.register", params)

    async def bulk(self, party: Party) -> None:
        """Take or give up several in bulk, and perhaps think better of it."""
        ids = [name for name in RESOURCES if name not in TTLS and self.rng.random() < 0.7]
        params: Json = {
            "batch_size": self.rng.choice((1, 2)),
            "continue_on_error": self.rng.random() < 0.4,
        }
        if self.rng.random() < 0.5:
            params["progress_token"] = f"bulk-{len(party.record.words)}"
        if self.rng.random() < 0.3:
            pending = await party.start("resource.bulk_release", params | {"resource_ids": ids})
        else:
            force = self.rng.choice(({}, {}, {"force": True}))
            resources = [{"resource_id": name} | force for name in ids]
            pending = await party.start("resource.bulk_register", params | {"resources": resources})
        if self.rng.random() < 0.2:
            await self.world.pause()
            await party.cancel(pending)

    async def wait(self, party: Party) -> None:
        """Take resources as soon as they are to be had, and perhaps want them no more after a while."""
        seconds = self.rng.choice((0.02, 0.5, 5.0, 60.0))
        pending = await party.start("resource.register", self._registration() | {"wait_seconds": seconds})
        if self.rng.random() < 0.3:
            await self.world.pause()
            await party.cancel(pending)

    async def register_for_another(self, party: Party) -> None:
        """Take resources in the name of another, as administrators may."""
        another = self.rng.choice(self.world.actors).name
        params = self._registration() | {"instance_id": another, "partial": True}
        await party.start("resource.register", params)

    async def transfer(self, party: Party) -> None:
        """Hand resources to another, perhaps somebody else's."""
        giver, heir = self.name, self.rng.choice(self.world.actors).name
        if self.rng.random() < 0.2:
            giver = self.rng.choice(self.world.actors).name
        params: Json = {
            "resource_ids": self._some(),
            "from_instance_id": giver,
            "to_instance_id": heir,
            "reason": "why not",
            "partial": self.rng.random() < 0.7,
            "verify_ownership": self.rng.random() < 0.8,
        }
        if self.rng.random() < 0.3:
            params["state"] = {params["resource_ids"][0]: {"filling": "x" * self.rng.choice((0, 1500))}}
        await party.start("resource.transfer", params)

    async def drain(self, party: Party) -> None:
        """Be about to leave, or have another leave; perhaps think better of it."""
        params: Json = {"batch_size": self.rng.choice((1, 2, 100))}
        if self.rng.random() < 0.2:
            params["instance_id"] = self.rng.choice(self.world.actors).name
        if self.rng.random() < 0.4:
            params["hand_over_to"] = self.rng.choice(
                ("nobody", "keep", [self.rng.choice(self.world.actors).name])
            )
        if self.rng.random() < 0.2:
            params["deadline_seconds"] = 0.01
        if self.rng.random() < 0.3:
            params["progress_token"] = "drained"
        pending = await party.start("instance.drain", params)
        if self.rng.random() < 0.2:
            await party.cancel(pending)

    async def rebalance(self, party: Party) -> None:
        """Have resources go to whoever has least to do; perhaps think better of it."""
        params: Json = {
            "service_name": self.rng.choice(SERVICES),
            "by": self.rng.choice(("count", "count", "calls")),
            "dry_run": self.rng.random() < 0.1,
        }
        if self.rng.random() < 0.3:
            params["max_moves"] = 1
        pending = await party.start("service.rebalance", params)
        if self.rng.random() < 0.2:
            await party.cancel(pending)

    async def end_somebody(self, party: Party) -> None:
        """Close the session of somebody who has called, as administrators may."""
        if self.world.session_ids:
            ended = self.rng.choice(self.world.session_ids[-5:])
            await party.start("session.end", {"session_id": ended, "reason": "enough"})

    async def release(self, party: Party) -> None:
        """Give resources up."""
        await party.start(
            "resource.release", {"resource_ids": self._some(), "partial": self.rng.random() < 0.5}
        )

    async def renew(self, party: Party) -> None:
        """Have what expires live on, perhaps for less."""
        params: Json = {"resource_ids": self.rng.choice(([*TTLS], [*TTLS], self._some()))}
        await party.start("resource.renew", params | self.rng.choice(({}, {}, {"ttl_seconds": 0.5})))

    async def update(self, party: Party) -> None:
        """Say something else of a resource, perhaps of the version that was there last."""
        resource_id = self.rng.choice(RESOURCES)
        params: Json = {"resource_id": resource_id, "metadata": {"tags": [self.name]}}
        if self.rng.random() < 0.7:
            params["expected_version"] = self.world.versions.get(resource_id, 0)
        if self.rng.random() < 0.5:
            params["merge"] = True
        pending = await party.start("resource.update", params)
        self.world.scenario.start_soon(self._note_version, resource_id, pending)

    async def _note_version(self, resource_id: str, pending: Pending) -> None:
        try:
            result = await pending.result()
        except (Left, Refused) as error:
            if isinstance(error, Refused) and error.type == "version_conflict":
                self.world.versions[resource_id] = error.data["current_version"]
        else:
            self.world.versions[resource_id] = result["resource"]["metadata"]["version"]


class _Watcher(_Actor):
    """Follows everything that becomes of resources, from one session to the next."""

    def __init__(self, world: _World, name: str) -> None:
        super().__init__(world, name)
        self.follower = Follower(world.histories)

    def actions(self) -> list[tuple[Callable[[Party], Awaitable[None]], int]]:
        return [
            (self.ask, 5),
            (self.call, 2),
            (self.leave, 3),
            (self.vanish, 4),
            (self.stall, 3),
            (self.lose_everything, 1),
        ]

    async def work(self, party: Party) -> None:
        """Watch, and go on watching."""
        try:
            while party.ended is None:
                if await self._begin(party):
                    await self._follow(party)
        except Left:
            pass

    async def _begin(self, party: Party) -> bool:
        """Begin a watch. False: it has to be begun in another way."""
        pending = await party.start("resource.watch", self.follower.ask())
        answer = await pending.answer()
        if self.party is not party:
            raise Left
        if "error" in answer:
            assert answer["error"]["data"]["type"] == "revision_gone", answer
            self.follower.lose()
            return False
        self.follower.begin(answer["result"])
        return True

    async def _follow(self, party: Party) -> None:
        """Take what comes until the watch is lost."""
        while True:
            message = await party.next()
            if self.party is not party:
                raise Left
            if message["method"].startswith("resource.") and not self.follower.take(message):
                return
