"""A receiver of OTLP over HTTP, as small as can be: it takes spans, and keeps them."""

import gzip
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import h11
import trio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATH = "/v1/traces"


class Receiver:
    """What has arrived.

    Attributes:
        url: where to send spans.
        status: what it answers.
        spans: oldest first.
        resources: what was said of those who sent them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = HTTPStatus.OK
        self.requests = 0
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []
        self._changed = trio.lowlevel.ParkingLot()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    async def wait_for(self, name: str, count: int = 1) -> list[Span]:
        """Wait until so many spans of that name have come."""
        with trio.fail_after(20):
            while len(self.named(name)) < count:
                await self._changed.park()
        return self.named(name)

    async def wait_requests(self, count: int) -> None:
        with trio.fail_after(20):
            while self.requests < count:
                await self._changed.park()

    async def serve(self, stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # whoever sends goes when it likes
            await self._serve(stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        async with stream:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    request, body = event, b""
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage) and request is not None:
                    await self._answer(connection, stream, request, body)
                    connection.start_next_cycle()
                else:
                    return

    async def _answer(
        self, connection: h11.Connection, stream: trio.SocketStream, request: h11.Request, body: bytes
    ) -> None:
        assert (request.method, request.target) == (b"POST", PATH.encode())
        headers = dict(request.headers)
        assert headers[b"content-type"] == b"application/x-protobuf"
        if headers.get(b"content-encoding") == b"gzip":
            body = gzip.decompress(body)
        self.requests += 1
        if self.status is HTTPStatus.OK:
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                said = {it.key: it.value.string_value for it in of_resource.resource.attributes}
                self.resources.append(said)
                self.spans += (span for scope in of_resource.scope_spans for span in scope.spans)
        self._changed.unpark_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        head = h11.Response(
            status_code=self.status,
            headers=[("content-type", "application/x-protobuf"), ("content-length", str(len(answer)))],
        )
        data = connection.send(head) + connection.send(h11.Data(data=answer))
        await stream.send_all(data + connection.send(h11.EndOfMessage()))


@asynccontextmanager
async def open_receiver() -> AsyncGenerator[Receiver]:
    """A receiver on loopback, for the length of the block."""
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        receiver = Receiver(f"http://127.0.0.1:{listener.socket.getsockname()[1]}{PATH}")
        await nursery.start(trio.serve_listeners, receiver.serve, [listener])
        yield receiver
        nursery.cancel_scope.cancel()
