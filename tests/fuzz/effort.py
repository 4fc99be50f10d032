"""What is fuzzed, and for how long: a few seconds with every run of the tests, or as long as one likes."""

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import attrs
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis.errors import HypothesisWarning
from hypothesis.strategies import SearchStrategy


@attrs.frozen(kw_only=True)
class Target:
    """Something that must hold whatever it is given.

    Attributes:
        check: raises if it does not.
        inputs: what it is given.
        everyday: how many inputs it is tried with whenever the tests run; one or two seconds' worth.
        corpus: what it is always tried with.
    """

    check: Callable[[Any], None]
    inputs: SearchStrategy[Any]
    everyday: int
    corpus: Sequence[Any] = ()

    def try_out(self, *, has_seen_corpus: bool = False, chance: int | None = None) -> None:
        """Try it with the corpus and with chance inputs; what has ever made it fail here comes first.

        The same ``chance`` makes the same inputs.
        """
        test = given(self.inputs)(self.check)
        for known in () if has_seen_corpus else self.corpus:
            test = example(known)(test)
        test = settings(
            max_examples=self.everyday,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
        )(test)
        if chance is not None:
            test = seed(chance)(test)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HypothesisWarning)  # that an input is long to print
            test()


def try_out_for(seconds: float, targets: Sequence[Target], chance: int) -> int:
    """Try all targets in turns, ever new inputs, until the time is up. Returns how many inputs were tried.

    The same ``chance`` makes the same inputs, as many as there is time for.
    """
    until = time.monotonic() + seconds
    tried = 0
    for turn, target in enumerate(cycle(targets)):
        if time.monotonic() > until:
            return tried
        target.try_out(has_seen_corpus=turn >= len(targets), chance=chance + turn)
        tried += target.everyday
    raise AssertionError("there is nothing to try")
