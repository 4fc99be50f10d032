import trio

from resroute import open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def read(self) -> str:
        return "text"


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with ours.open_instance("documents", Documents()) as instance:
            draft = {"resource_type": "page", "tags": ["draft", "eu"]}
            final = {"resource_type": "page", "tags": ["final", "eu"]}
            await instance.register(
                "doc:1", "doc:2", "doc:3", "room:1", metadata={"doc:1": draft, "doc:2": final, "doc:3": draft}
            )

            page = await theirs.query_resources(prefix="doc:", limit=2)
            print(page.total_count, "documents, first", *(info.resource_id for info in page.resources))

            rest = await theirs.query_resources(prefix="doc:", cursor=page.next_cursor)
            print("then", *(info.resource_id for info in rest.resources))

            async for info in theirs.all_resources(resource_type="page", tags=["eu", "draft"]):
                print(info.resource_id, "is a draft in the EU, owned by a", info.service_name, "instance")


trio.run(main)
