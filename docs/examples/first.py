import trio

from resroute import ResourceNotFound, current_call, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:  # its public methods are what others can call
    def read(self, line: int) -> str:
        return f"line {line} of {current_call().resource_id}"


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", Documents()) as instance:
            await instance.register("doc:1")  # calls to doc:1 come here from now on
            print(await theirs.call("read", {"line": 3}, resource_id="doc:1"))
        try:
            await theirs.call("read", {"line": 3}, resource_id="doc:1")
        except ResourceNotFound as error:
            print(error)


trio.run(main)
