import trio

from resroute import VersionConflict, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def read(self) -> str:
        return "text"


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", Documents()) as instance:
            await instance.register(
                "doc:1", metadata={"doc:1": {"tags": ["draft"], "attributes": {"pages": 3}}}
            )

            [document] = (await theirs.query_resources(resource_ids=["doc:1"])).resources
            metadata = document.metadata
            assert metadata is not None
            print("version", metadata.version, *metadata.tags, metadata.attributes["pages"])

            now = await instance.update("doc:1", {"tags": ["final"]}, merge=True)  # the attributes stay
            assert now.metadata is not None
            print("version", now.metadata.version, *now.metadata.tags, now.metadata.attributes["pages"])

            try:
                await instance.update("doc:1", {"tags": ["late"]}, expected_version=metadata.version)
            except VersionConflict as error:
                print(error)


trio.run(main)
