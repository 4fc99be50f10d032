import trio

from resroute import BatchProgress, BulkProgress, BulkResource, open_client

URL = "ws://127.0.0.1:8765/"


class Documents:
    def read(self) -> str:
        return "text"


def tell(progress: BatchProgress) -> None:
    print(progress.done, "of", progress.total)


async def main() -> None:
    async with open_client(URL) as ours, open_client(URL) as theirs:
        async with (
            ours.open_instance("documents", Documents()) as instance,
            theirs.open_instance("documents", Documents()) as other,
        ):
            await other.register("doc:250")
            documents = [f"doc:{number}" for number in range(300)]

            result = await instance.bulk_register(documents, on_progress=tell)
            print("rolled back:", result.rolled_back, "because of", result.failed[0].resource_id)

            progress = BulkProgress()
            result = await instance.bulk_register(documents, continue_on_error=True, progress=progress)
            print("registered:", result.total_registered, "failed:", len(result.failed))

            await other.release("doc:250")  # go on from where it failed
            result = await instance.bulk_register(documents, continue_on_error=True, progress=progress)
            print("registered:", result.total_registered, "of", result.total_requested)

            await instance.bulk_register([BulkResource(resource_id="doc:300", metadata={"tags": ["draft"]})])
            released = await instance.bulk_release(instance.resources)
            print("released:", released.total_released)


trio.run(main)
