"""What is remembered to link spans by."""

from opentelemetry.trace import SpanContext

from resroute.router.tracing import MAX_REMEMBERED, _Recent


def test_of_many_only_the_last_are_remembered() -> None:
    recent: _Recent[int] = _Recent()
    contexts = [SpanContext(1, number + 1, is_remote=False) for number in range(MAX_REMEMBERED + 2)]
    for number, context in enumerate(contexts):
        recent.note(number, context)
        recent.note(0, contexts[0])  # which comes up again and again
    assert len(recent) == MAX_REMEMBERED
    assert recent.get(0) is contexts[0]
    assert recent.get(1) is recent.get(2) is None
    assert recent.take(3) is contexts[3]
    assert recent.get(3) is None
