"""What the demonstration shows. Each step does the thing and looks whether it holds."""

import os
import signal
import statistics
import time
from typing import Any

import trio

from demonstration.stage import Failure, Program, Stage
from demonstration.voice import Voice
from resroute import Client, OwnerDisconnected, ResourceNotFound, RouterError

FIRST = ("doc:1", "doc:2", "doc:3")
SECOND = ("doc:4", "doc:5", "doc:6")
NOBODYS = "doc:7"

MEASURED_CALLS = 1000
MEASURING_SECONDS = 2
CALLS_AT_WORK = 20
CALL_SECONDS = 10


def expect(holds: bool, otherwise: str) -> None:
    """Go on only if this holds."""
    if not holds:
        raise Failure(otherwise)


class Story:
    """The steps, in order. The caller is this program."""

    _client: Client

    def __init__(self, voice: Voice, stage: Stage, url: str) -> None:
        self.url = url
        self._voice = voice
        self._stage = stage
        # instance id -> its process, while it lives
        self.owners: dict[str, Program] = {}

    async def start_owner(self, instance_id: str, *resource_ids: str) -> None:
        """Start an instance that owns documents."""
        owner = await self._stage.start(
            instance_id, "demonstration.owner", self.url, instance_id, *resource_ids
        )
        await owner.wait_for("ready")
        self.owners[instance_id] = owner
        self._voice.item(instance_id, f"owns {' '.join(resource_ids)}", f"process {owner.pid}")

    async def tell(self, client: Client) -> None:
        """All of it."""
        self._client = client
        await self.begin()
        await self.contend()
        await self.call()
        await self.call_nobody()
        await self.kill()

    async def begin_again(self) -> None:
        """Who died comes back, and has to take what is left."""
        self._voice.step("Try it yourself")
        self._voice.item("router", self.url)
        await self.start_owner("documents-1", NOBODYS)
        self._voice.item(
            "documents-2", f"owns {' '.join(FIRST + SECOND)}", f"process {self.owners['documents-2'].pid}"
        )

    async def begin(self) -> None:
        """Everybody connects."""
        await self.start_owner("documents-1", *FIRST)
        await self.start_owner("documents-2", *SECOND)
        self._voice.item("caller", "this program", f"process {os.getpid()}")

    async def contend(self) -> None:
        """One owner is refused what the other owns."""
        self._voice.step("An id has one owner")
        self._voice.note("documents-2 wants doc:1 as well, and is told who has it:")
        answer = await self._take("documents-2", "doc:1")
        expect("refused" in answer, "doc:1 was registered to a second owner")
        expect(
            "documents-1" in answer["refused"], f"the conflict does not name the owner: {answer['refused']}"
        )
        self._voice.refused(answer["code"], answer["type"], answer["refused"])

    async def call(self) -> None:
        """Calls reach the owner of the id they name."""
        self._voice.step("Calls reach the owner")
        for resource_id in ("doc:1", "doc:4"):
            answer = await self._append(resource_id)
            self._voice.item(
                resource_id, f"append -> {answer['by']} answers; the document has {answer['lines']} line"
            )
        seconds: list[float] = []
        until = time.perf_counter() + MEASURING_SECONDS
        while len(seconds) < MEASURED_CALLS and (time.perf_counter() < until or len(seconds) < 10):
            resource_id = (FIRST + SECOND)[len(seconds) % 6]
            began = time.perf_counter()
            answer = await self._append(resource_id)
            seconds.append(time.perf_counter() - began)
            owner = "documents-1" if resource_id in FIRST else "documents-2"
            expect(answer["by"] == owner, f"{resource_id} is {owner}'s, and {answer['by']} got a call for it")
        centiles = statistics.quantiles(seconds, n=100)
        self._voice.good(
            f"{len(seconds)} calls to six documents, one after the other: each reached the owner"
        )
        figures = f"p50 {centiles[49] * 1000:.2f} ms, p99 {centiles[98] * 1000:.2f} ms"
        self._voice.good(f"{self._voice.paint('strong', figures)}, from the caller to the owner and back")

    async def call_nobody(self) -> None:
        """A call to an id without an owner fails at once."""
        self._voice.step("An id that nobody owns")
        began = time.perf_counter()
        try:
            await self._append(NOBODYS)
        except ResourceNotFound as error:
            took = time.perf_counter() - began
            self._voice.error(error)
            self._voice.good(f"told after {took * 1000:.2f} ms; nobody waits for an answer that cannot come")
        else:
            raise Failure(f"a call to {NOBODYS}, which nobody owns, was answered")

    async def kill(self) -> None:
        """An owner is killed while it works."""
        voice = self._voice
        voice.step("An owner dies at work")
        victim = self.owners.pop("documents-1")
        epoch_before = (await self._client.query_resources(resource_ids=["doc:1"])).resources[0].epoch
        ended_at: list[float] = []
        errors: list[RouterError] = []
        taken: dict[str, int] = {}
        taken_at = 0.0

        async def print_document(resource_id: str) -> None:
            try:
                await self._client.call("print", resource_id=resource_id)
            except RouterError as error:
                ended_at.append(time.monotonic())
                errors.append(error)

        async def take_over() -> None:
            nonlocal taken_at
            answer = await self._take("documents-2", *FIRST, patiently=True)
            taken.update(answer["epochs"])
            taken_at = answer["at"]

        async with trio.open_nursery() as nursery:
            for number in range(CALLS_AT_WORK):
                nursery.start_soon(print_document, FIRST[number % 3])
            nursery.start_soon(take_over)
            await self._wait_at_work("documents-1", CALLS_AT_WORK)
            voice.note(f"{CALLS_AT_WORK} calls are at work in documents-1. kill -9 {victim.pid}")
            killed_at = time.monotonic()
            victim.process.send_signal(signal.SIGKILL)

        expect(
            len(errors) == CALLS_AT_WORK,
            "a call to the owner that was killed was answered by nobody knows whom",
        )
        expect(
            all(isinstance(error, OwnerDisconnected) and error.delivery == "unknown" for error in errors),
            f"a call ended otherwise than it should: {errors!r}",
        )
        voice.error(errors[0])
        told = f"{(max(ended_at) - killed_at) * 1000:.1f} ms"
        free = f"{(taken_at - killed_at) * 1000:.1f} ms"
        voice.good(f"{voice.paint('strong', told)} after the kill all {CALLS_AT_WORK} calls have this answer")
        voice.note(
            f"    with {voice.paint('strong', 'delivery: unknown')}: the owner had them, and may have done the work"
        )
        voice.good(f"{voice.paint('strong', free)} after the kill documents-2 owns {' '.join(FIRST)}")
        expect(taken["doc:1"] > epoch_before, "the new owner got an epoch that is not greater")
        voice.remark(f"    at epoch {taken['doc:1']}; documents-1 had them at {epoch_before}")
        answer = await self._append("doc:1")
        expect(answer["by"] == "documents-2", f"doc:1 was called, and {answer['by']} answered")
        voice.item("doc:1", f"append -> {answer['by']} answers; the document has {answer['lines']} line")
        voice.remark("    what was in the memory of documents-1 has gone with it")

    async def _append(self, resource_id: str) -> Any:
        return await self._call("append", {"text": "Once upon a time"}, resource_id)

    async def _take(self, instance_id: str, *resource_ids: str, patiently: bool = False) -> Any:
        """Ask an instance to become the owner of documents."""
        params = {"resource_ids": resource_ids, "patiently": patiently}
        return await self._call("take", params, f"instance:{instance_id}")

    async def _wait_at_work(self, instance_id: str, count: int) -> None:
        at_work = 0
        while at_work < count:
            await trio.sleep(0.01)
            at_work = await self._call("at_work", {}, f"instance:{instance_id}")

    async def _call(self, method: str, params: dict[str, Any], resource_id: str) -> Any:
        with trio.move_on_after(CALL_SECONDS):
            return await self._client.call(method, params, resource_id=resource_id)
        raise Failure(f"{resource_id} did not answer {method} within {CALL_SECONDS} s")
