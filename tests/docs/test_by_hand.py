"""What docs/protocol.md lets its readers type, replayed with the very program that it tells them to use."""

import trio

from tests.docs.by_hand import Participant, Seen, open_participant, steps
from tests.docs.running import open_router


async def test_the_session_to_type_by_hand_is_what_happens() -> None:
    seen = Seen()
    with trio.fail_after(60):
        async with (
            open_router() as url,
            open_participant(url, seen) as owner,
            open_participant(url, seen) as caller,
        ):
            people: dict[str, Participant] = {"owner": owner, "caller": caller}
            for step in steps():
                who = people[step.who]
                if step.text is None:
                    await who.leave()
                elif step.is_sent:
                    await who.send(step.text)
                else:
                    await who.check_next(step.text)
