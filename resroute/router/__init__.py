"""The router: sessions and their tasks, calls in flight, placement, and the operations on resources."""

from resroute.router.router import Router
from resroute.router.statistics import RouterStatistics

__all__ = ["Router", "RouterStatistics"]
