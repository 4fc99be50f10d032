import trio

from resroute import open_client

URL = "ws://127.0.0.1:8765/"


def answer() -> str:
    return "here"


async def main() -> None:
    async with open_client(URL) as client, client.open_instance("documents", answer) as before:
        await before.register("doc:1", "doc:2")
        epochs = dict(before.resources)
        name, token = before.instance_id, before.resume_token

        # The connection turns bad, and neither the router nor this program knows it yet. So open another.
        async with (
            open_client(URL) as again,
            again.open_instance("documents", answer, instance_id=name, resume_token=token) as instance,
        ):
            print("resumed:", *instance.resumed)
            print("under new epochs:", all(epoch > epochs[it] for it, epoch in instance.resumed.items()))


trio.run(main)
