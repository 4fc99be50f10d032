"""``resroute serve`` that makes traces."""

import json
import signal
import subprocess
import sys

import trio

from tests.cli.running import environment, open_serve
from tests.cli.test_serve import ask, open_session
from tests.telemetry.receiver import open_receiver


async def test_what_a_router_does_arrives_at_a_receiver_the_last_of_it_when_the_router_ends() -> None:
    async with open_receiver() as receiver:
        async with (
            open_serve(RESROUTE_TRACES_ENDPOINT=receiver.url) as serving,
            open_session(serving.url) as connection,
        ):
            await ask(connection, "instance.register", service_name="documents", instance_id="owner")
            [first] = await receiver.wait_for("instance.register")
            await ask(connection, "resource.register", resource_ids=["a"])
            serving.program.signal(signal.SIGTERM)
            [last] = await receiver.wait_for("resource.register")
            said = {it.key: it.value.string_value for it in last.attributes}
            assert (said["resroute.instance_id"], said["resroute.resource_id"]) == ("owner", "a")
            assert first.trace_id != last.trace_id
        assert {resource["service.name"] for resource in receiver.resources} == {"resroute"}


async def test_a_traceparent_over_http_is_the_parent_of_what_the_router_does() -> None:
    async with open_receiver() as receiver, open_serve(RESROUTE_TRACES_ENDPOINT=receiver.url) as serving:
        host, port = serving.admin_url.removeprefix("http://").rstrip("/").rsplit(":", 1)
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"GET /api/v1/resources HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
            )
            answer = b"".join([chunk async for chunk in stream])
        assert answer.startswith(b"HTTP/1.1 200 ")
        [span] = await receiver.wait_for("resource.query")
        assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
        assert span.parent_span_id.hex() == "b7ad6b7169203331"


async def test_a_receiver_that_is_not_there_is_one_line_and_costs_nothing_else() -> None:
    async with (
        open_serve(RESROUTE_TRACES_ENDPOINT="http://127.0.0.1:1/v1/traces") as serving,
        open_session(serving.url) as connection,
    ):
        for number in range(3):
            await ask(connection, "resource.query", prefix=f"{number}")
        await serving.program.wait_said("spans cannot be sent")
        await ask(connection, "resource.query")
        with trio.fail_after(20):
            while (await serving.ask_admin("/metrics"))[1].count(
                'resroute_spans_total{outcome="failed"} 0.0'
            ):
                await ask(connection, "session.ping")
        lines = [json.loads(line) for line in serving.program.stderr.splitlines() if line.startswith("{")]
        [line] = [line for line in lines if line["level"] != "info"]
        assert line["message"] == "spans cannot be sent"
        assert "refused" in line["reason"]


def test_without_the_extra_it_says_what_is_missing_and_exits_with_1() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; from resroute.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port=0", "--admin-port=0"],
        env=environment(RESROUTE_TRACES_ENDPOINT="http://127.0.0.1:4318/v1/traces"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "pip install 'resroute[otel]'" in line


def test_without_the_extra_a_router_that_makes_no_traces_runs() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import resroute.cli.serving, resroute.router"
    subprocess.run([sys.executable, "-c", program], env=environment(), timeout=30, check=True)
