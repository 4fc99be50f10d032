import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from resroute import open_client

URL = "ws://127.0.0.1:8765/"

# yours sends its spans to where the router sends its own
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("documents")


class Documents:
    def read(self) -> str:
        with tracer.start_as_current_span("look in the cache"):
            return "text"


async def main() -> None:
    async with (
        open_client(URL, tracer=tracer) as client,
        client.open_instance("documents", Documents()) as instance,
    ):
        await instance.register("doc:1")
        with tracer.start_as_current_span("show a document") as shown:
            print(await client.call("read", resource_id="doc:1"))

    for span in sorted(spans.get_finished_spans(), key=lambda span: span.start_time):
        if span.context.trace_id == shown.get_span_context().trace_id:
            print(f"{span.name} ({span.kind.name.lower()})")


trio.run(main)
