import trio

from resroute import Caller, Client, SessionNotFound, Unavailable, current_call, open_client

URL = "ws://127.0.0.1:8765/"
ROOM = "room:lobby"


class Rooms:
    """Tells whoever has joined a room what is said there."""

    def __init__(self) -> None:
        self._members: dict[str, Caller] = {}

    async def join(self, name: str) -> None:
        self._members[name] = current_call().caller
        await self._tell(f"{name} has come")

    async def say(self, name: str, text: str) -> None:
        await self._tell(f"{name}: {text}")

    async def _tell(self, line: str) -> None:
        for name, member in list(self._members.items()):
            try:
                await member.notify("told", {"line": line})
            except SessionNotFound:
                del self._members[name]  # its connection has ended
            except Unavailable:
                print(name, "reads too slowly and has missed:", line)


class Guest:
    def __init__(self, name: str, client: Client) -> None:
        self._name = name
        self._client = client

    async def join(self) -> None:
        await self._client.call("join", {"name": self._name}, resource_id=ROOM)

    async def say(self, text: str) -> None:
        await self._client.call("say", {"name": self._name, "text": text}, resource_id=ROOM)


async def main() -> None:
    async with (
        open_client(URL) as client,
        client.open_instance("chat", Rooms()) as instance,
        open_client(URL) as client_of_ada,
        open_client(URL) as client_of_bob,
        client_of_ada.open_notifications() as notes,  # before joining, so that nothing is missed
    ):
        await instance.register(ROOM)
        ada, bob = Guest("Ada", client_of_ada), Guest("Bob", client_of_bob)
        await ada.join()
        await bob.join()
        async for note in notes:
            print(note.params["line"])
            match note.params["line"]:
                case "Bob has come":
                    await bob.say("Is anybody there?")
                case "Bob: Is anybody there?":
                    await ada.say("Hello Bob")
                case "Ada: Hello Bob":
                    break


trio.run(main)
