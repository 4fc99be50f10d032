"""How hard the property tests of the core try. A failure prints the example that broke it, and how to run it again."""

from hypothesis import HealthCheck, settings

# no deadlines: the machine may be busy with other things
_BASE = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


def effort(max_examples: int, *, steps: int = 40) -> settings:
    """So many examples; for state machines, of at most so many steps each."""
    return settings(_BASE, max_examples=max_examples, stateful_step_count=steps)
