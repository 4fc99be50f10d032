"""Seeds whose schedules have found something once. They are always run.

A seed names the same schedule as long as ``schedule.py`` draws lots in the same order; after a change of that it is one more
seed among many, and what it once found has a test of its own in ``tests/router``.
"""

REMEMBERED_SEEDS = (
    4,  # tidying up flooded a log that answers late
    32,  # two rivals asked for the same silent owner
    652,  # a session that ended before it became an instance was called by service
    2600,  # what was granted in part was called before it was told
    7592,  # the same, over a log that answers late
)
