"""Whether what a router has counted of ownership agrees with itself, once everybody has left."""

from collections.abc import Iterator

from resroute.router.router import Router


def find_miscounted(router: Router) -> Iterator[str]:
    """What cannot be so: resources leave their owners as often as they have come to some, and no more often."""
    counted = {traffic.label: traffic.ownership for traffic in router.metrics.traffic()}
    for service, ownership in counted.items():
        if min([0, *ownership.registrations.values(), *ownership.releases.values()]) < 0:
            yield f"{service} has counted backwards: {ownership.registrations} {ownership.releases}"
    came = sum(
        ownership.registrations.get(status, 0)
        for ownership in counted.values()
        for status in ("ok", "call_cancelled")  # which may have run, where a session ends in the middle
    )
    left = sum(
        count
        for ownership in counted.values()
        for cause, count in ownership.releases.items()
        if cause != "forced"  # to somebody else, who has registered it
    )
    if left > came:
        yield f"{left} resources have left their owners, and only {came} have come to some"
    if owned := list(router.gauges.resource_counts()):
        yield f"nobody is there any more, and owns {owned}"
