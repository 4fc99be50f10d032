import trio

from resroute import ResourceEvent, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def read(self) -> str:
        return "text"


def show(event: ResourceEvent) -> None:
    print(event.event, event.resource.resource_id, f"({event.cause})")


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", Documents(), instance_id="documents-1") as instance:
            await instance.register("doc:1")

            async with theirs.open_watch(prefix="doc:", snapshot=True) as events:
                for info in events.snapshot:
                    print("there is", info.resource_id, "of", info.owner_instance_id)
                await instance.register("doc:2", "img:1")
                await instance.update("doc:2", {"tags": ["draft"]})
                await instance.release("doc:2")
                async for event in events:
                    show(event)
                    if event.event == "released":
                        break
            revision = events.revision

            await instance.register("doc:3")  # while nobody watches
        # and now documents-1 has gone
        async with theirs.open_watch(prefix="doc:", from_revision=revision) as events:
            for _ in range(3):
                show(await anext(events))


trio.run(main)
