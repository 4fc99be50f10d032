import trio

from resroute import Acquired, Instance, Lost, open_client

URL = "ws://127.0.0.1:8765/"


class Rooms:
    def members(self) -> int:
        return 0


async def listen(instance: Instance, *, task_status: trio.TaskStatus[None]) -> None:
    async with instance.open_changes() as changes:
        task_status.started()
        async for change in changes:
            match change:
                case Acquired(resource_id=room, from_instance_id=source):
                    print(room, "comes from", source)
                case Lost(resource_id=room, cause=cause):
                    print(room, "is gone:", cause)
                    return


async def main() -> None:
    async with open_client(URL) as client, client.open_instance("rooms", Rooms()) as instance:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen, instance)
            await instance.register("room:1", "room:2", metadata={"room:2": {"ttl_seconds": 0.2}})
        print("left:", *instance.resources)


trio.run(main)
