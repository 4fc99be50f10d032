"""``resroute call``: what it prints, and its exit codes."""

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from resroute import RemoteError, open_client
from resroute.cli import exits
from resroute.cli.calling import make_call
from resroute.cli.interrupts import Interruption
from resroute.client import Call
from resroute.errors import CallTimeout, ConnectionFailed, ResourceNotFound, ResrouteError
from tests.cli.running import command, never, open_program, open_router, open_serve, run


@attrs.define
class Owner:
    """Owns ``doc:1``, and answers as its method says."""

    url: str
    was_called: trio.Event = attrs.field(factory=trio.Event)
    was_cancelled: trio.Event = attrs.field(factory=trio.Event)
    leave: trio.Event = attrs.field(factory=trio.Event)

    async def answer(self, call: Call) -> object:
        self.was_called.set()
        match call.method:
            case "fail":
                raise RemoteError(42, "not\ntoday", {"why": "\x1b[31m"})
            case "hang":
                try:
                    await trio.sleep_forever()
                finally:
                    self.was_cancelled.set()
            case "leave":
                self.leave.set()
                await trio.sleep_forever()
        return {"method": call.method, "params": call.params}


@asynccontextmanager
async def open_owner() -> AsyncGenerator[Owner]:
    """A router of this process and the owner of ``doc:1``, who leaves when it is told to."""
    async with open_router() as url, trio.open_nursery() as nursery:
        owner = Owner(url)

        async def own(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.CancelScope() as scope:
                async with open_client(url) as client:
                    async with client.open_instance("documents", owner.answer) as instance:
                        await instance.register("doc:1")
                        task_status.started()
                        await owner.leave.wait()
                        scope.cancel()

        await nursery.start(own)
        yield owner
        owner.leave.set()


async def call(
    url: str,
    method: str = "get",
    params: dict[str, object] | None = None,
    *,
    resource_id: str | None = "doc:1",
    timeout_seconds: float | None = None,
    in_one_line: bool = False,
    interruption: Interruption | None = None,
) -> int:
    return await make_call(
        url,
        method,
        params,
        resource_id=resource_id,
        service_name="documents" if resource_id is None else None,
        timeout_seconds=timeout_seconds,
        in_one_line=in_one_line,
        interruption=interruption or never(),
    )


# --- in this process ----------------------------------------------------------------------------------------


async def test_the_result_is_json_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owner() as owner:
        assert await call(owner.url, params={"n": 2**70}) == exits.DONE
    assert capsys.readouterr().out == (
        '{\n  "method": "get",\n  "params": {\n    "n": 1180591620717411303424\n  }\n}\n'
    )


async def test_or_one_line_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_owner() as owner:
        assert await call(owner.url, resource_id=None, in_one_line=True, timeout_seconds=20) == exits.DONE
    assert capsys.readouterr().out == '{"method":"get","params":null}\n'


async def test_without_an_owner_there_is_an_error() -> None:
    async with open_router() as url:
        with pytest.raises(ResourceNotFound):
            await call(url)


async def test_params_that_cannot_be_sent_are_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    nested: dict[str, object] = {}
    for _ in range(300):
        nested = {"a": nested}
    async with open_router() as url:
        assert await call(url, params=nested) == exits.MISTAKE
    assert capsys.readouterr().err.startswith("resroute: these params cannot be sent: ")


async def test_a_call_out_of_time_is_cancelled_at_its_callee() -> None:
    async with open_owner() as owner:
        began = trio.current_time()
        with pytest.raises(CallTimeout) as caught:
            await call(owner.url, "hang", timeout_seconds=0.5)
        assert trio.current_time() - began < 1.5
        assert caught.value.delivery == "unknown"
        assert exits.code_for(caught.value) == exits.MAY_HAVE_RUN
        await owner.was_cancelled.wait()


async def test_a_router_that_does_not_answer_in_time_is_no_connection() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(ConnectionFailed, match=r"no answer within 0\.3 seconds"):
            await call(f"ws://127.0.0.1:{port}/", timeout_seconds=0.3)


async def test_an_interruption_cancels_the_call_at_its_callee() -> None:
    async with open_owner() as owner, trio.open_nursery() as nursery:
        interruption = Interruption(nursery.cancel_scope)

        async def interrupt() -> None:
            await owner.was_called.wait()
            interruption.signal(signal.SIGINT)

        nursery.start_soon(interrupt)
        began = trio.current_time()
        assert await call(owner.url, "hang", interruption=interruption) == 130
        assert trio.current_time() - began < 1.5
        await owner.was_cancelled.wait()


async def test_an_owner_that_leaves_may_have_run_it() -> None:
    async with open_owner() as owner:
        with pytest.raises(ResrouteError) as caught:
            await call(owner.url, "leave")
        # it says so itself if it can
        assert exits.code_for(caught.value) in (exits.MAY_HAVE_RUN, exits.CALLEE_ERROR)


async def test_a_connection_that_ends_says_what_may_have_become_of_the_call(
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes = []
    async with open_serve() as serving, open_client(serving.url) as client:
        owner = Owner(serving.url)
        async with (
            client.open_instance("documents", owner.answer) as instance,
            trio.open_nursery() as nursery,
        ):
            await instance.register("doc:1")

            async def ask() -> None:
                codes.append(await call(serving.url, "hang"))

            nursery.start_soon(ask)
            await owner.was_called.wait()
            serving.program.process.kill()
    assert codes == [exits.MAY_HAVE_RUN]
    assert capsys.readouterr().err.endswith("; the call may have run\n")


# --- as a process -------------------------------------------------------------------------------------------


async def test_the_process_prints_and_exits_as_documented() -> None:
    async with open_owner() as owner:
        for arguments, stdout, stderr, code in (
            (["get", "--resource=doc:1", "--json"], '{"method":"get","params":null}\n', "", 0),
            (
                ["fail", "--service=documents"],
                "",
                'resroute: the callee answered with an error: not\\ntoday (code 42): {"why":"\\u001b[31m"}\n',
                1,
            ),
            (["get", "--resource=doc:2"], "", "resroute: No instance owns resource 'doc:2'\n", 3),
            (
                ["get", "--resource=doc:1", "--service=images"],
                "",
                "resroute: Resource 'doc:1' does not belong to service 'images'\n",
                3,
            ),
            (
                ["hang", "--resource=doc:1", "--timeout=0.3"],
                "",
                "resroute: No answer within 0.3 seconds; it may have run\n",
                5,
            ),
            (
                ["rpc.x", "--resource=doc:1"],
                "",
                "resroute: Invalid params: method: this name is reserved for the router's own messages\n",
                2,
            ),
        ):
            async with open_program("call", *arguments, RESROUTE_URL=owner.url) as program:
                assert await program.wait_ended() == code, program.stderr
                assert (program.stdout, program.stderr) == (stdout, stderr)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_ends_it_at_once_without_a_word(number: signal.Signals, code: int) -> None:
    async with (
        open_owner() as owner,
        open_program("call", "hang", "--resource=doc:1", f"--url={owner.url}") as program,
    ):
        await owner.was_called.wait()
        program.signal(number)
        with trio.fail_after(5):
            assert await program.wait_ended() == code
        assert (program.stdout, program.stderr) == ("", "")
        await owner.was_cancelled.wait()


def test_without_a_router_it_says_what_to_do() -> None:
    done = run("call", "get", "--resource=doc:1", "--url=ws://127.0.0.1:1/")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr == (
        "resroute: Cannot connect to ws://127.0.0.1:1/: connection refused: nobody listens there "
        "(`resroute serve` starts a router)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["get"], "Whom to call? Give --resource, --service or both. Try 'resroute call --help'."),
        (["--resource=a"], "Missing argument 'METHOD'. Try 'resroute call --help'."),
        (
            ["get", "--resource=a", "--params=5"],
            "--params must be a JSON object or list, not a number. Try 'resroute call --help'.",
        ),
        (
            ["get", "--resource=a", "--timeout=0"],
            "Invalid value for '--timeout': must be more than 0. Try 'resroute call --help'.",
        ),
        (
            ["get", "--resource=a", "--timeout=nan"],
            "Invalid value for '--timeout': must be more than 0. Try 'resroute call --help'.",
        ),
        (
            ["get", "--resource=a", "--url=ftp://localhost/"],
            "'ftp://localhost/' is no URL of a router: it begins with ws://, wss://, http:// or https://. "
            "Try 'resroute call --help'.",
        ),
        (
            ["get", "--resource=\udcff"],
            "Invalid value for '--resource': it is not valid UTF-8. Try 'resroute call --help'.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], line: str) -> None:
    done = run("call", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"resroute: {line}\n")


async def test_params_come_from_stdin_too() -> None:
    async with open_owner() as owner:
        done = await trio.run_process(
            command("call", "get", "--resource=doc:1", "--params=-", f"--url={owner.url}"),
            stdin='["é"]'.encode(),
            capture_stdout=True,
        )
    assert json.loads(done.stdout) == {"method": "get", "params": ["é"]}
