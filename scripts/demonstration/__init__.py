"""What `scripts/demo` runs: a router, two owners and a caller, each in a process of its own."""
