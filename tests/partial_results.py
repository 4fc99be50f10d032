"""Partial results, as callees told them and as callers heard them: a part of the checker."""

from collections.abc import Callable, Iterator, Sequence

from tests.records import Call, Delivery, Record, Word


def check_partial_results(
    calls: Sequence[Call], records: Sequence[Record], complain: Callable[..., None]
) -> None:
    """Whether they reached who asked for them, unchanged, in order and before the answer, and nobody else.

    Args:
        complain: is told what is wrong, and by which words that shows.
    """
    by_record: dict[Record, list[Call]] = {}
    for call in calls:
        if call.said.has_id:
            by_record.setdefault(call.said.record, []).append(call)
    for record in records:
        heard: dict[Word, list[Word]] = {}
        uncertain: set[Word] = set()
        tokens: list[object] = []  # of what the router itself tells the progress of
        for word in record.words:
            if word.is_said:
                tokens += [word.params.get("progress_token")]
            if word.is_said or word.method != "$/progress":
                continue
            if word.params.get("token") in tokens and "total" in word.params["value"]:
                continue
            found = [call for call in by_record.get(record, ()) if _may_be_of(word, call)]
            if not found:
                complain(f"{record.name} heard a partial result that it did not ask for", word)
            elif len(found) == 1:
                heard.setdefault(found[0].said, []).append(word)
            else:
                uncertain.update(call.said for call in found)
        for call in by_record.get(record, ()):
            if call.said not in uncertain:
                _check_call(call, heard.get(call.said, []), complain)


def _may_be_of(heard: Word, call: Call) -> bool:
    token, request = heard.params.get("token"), call.request
    if not call.wants_progress or request is None or call.said.position > heard.position:
        return False
    if request.is_certain and request.answer is not None and request.answer.position < heard.position:
        return False
    return (type(token), token) == call.said.id


def _check_call(call: Call, heard: list[Word], complain: Callable[..., None]) -> None:
    if call.request is None or not call.request.is_certain:
        return  # another request under this id may have heard them
    if any(_is_guessed(delivery) for delivery in call.deliveries):
        return
    told = [word for delivery in call.deliveries for word in _told_of(delivery)]
    wrong = next(
        (
            number
            for number, word in enumerate(heard)
            if number >= len(told)
            or told[number].position > word.position
            or told[number].params.get("value") != word.params.get("value")
        ),
        None,
    )
    if wrong is not None:
        complain("a partial result was changed, repeated, reordered or made up", *told, heard[wrong])
    answer = call.request.answer
    is_callees = answer is not None and not answer.is_routers_error
    if is_callees and call.wants_progress and wrong is None and len(heard) < len(told):
        complain("a partial result got lost", call.said, told[len(heard)], answer)


def _said_under_its_id(delivery: Delivery) -> Iterator[Word]:
    if not delivery.heard.has_id:
        return
    for word in delivery.heard.record.words_of("$/progress"):
        token = word.params.get("token")
        if word.is_said and (type(token), token) == delivery.heard.id:
            if "value" in word.params and not word.has_id:
                yield word


def _is_guessed(delivery: Delivery) -> bool:
    """Whether its callee told parts of it, or answered it, before it had read it: what of that counts nobody can know."""
    told = (word.position < delivery.heard.position for word in _said_under_its_id(delivery))
    return bool(delivery.guesses) or any(told)


def _told_of(delivery: Delivery) -> list[Word]:
    """What a callee said about a call that it had, until it answered it."""
    ends = min((word.position for word in delivery.answers), default=None)
    return [word for word in _said_under_its_id(delivery) if ends is None or word.position < ends]
