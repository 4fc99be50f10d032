"""Seeds whose schedules have found something once. They are always run.

A seed names the same schedule as long as ``schedule.py`` draws lots in the same order; after a change of that it is one more
seed among many, and what it once found has a test of its own in ``tests/router``.
"""

REMEMBERED_SEEDS = (
    44,  # a plain instance refused a call as stale, which it could not know to be
    1372,  # parts of a result came under an id that its caller had used twice
    1513,  # a call that was refused as stale came back from its second owner
    2308,  # two members of batches had one name
    2318,  # a push and a call to its sender crossed
    3182,  # a call ended that was with an instance which had stopped reading
    20992,  # a notification was its caller's turn in a line
    51428,  # a cancelled bulk that was told to have done nothing released something
)
