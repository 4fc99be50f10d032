"""For tests of programs that use resroute: a router in memory, with faults to inject, and a checker of what owners do."""

from resroute.testing.checking import Checker
from resroute.testing.router import SOON, ForeignClient, MemoryRouter, open_test_router

__all__ = ["SOON", "Checker", "ForeignClient", "MemoryRouter", "open_test_router"]
