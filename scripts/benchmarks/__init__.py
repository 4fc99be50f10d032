"""Benchmarks: what the router costs, beside what it may cost. Run by ``scripts/bench``; never timed tests."""
