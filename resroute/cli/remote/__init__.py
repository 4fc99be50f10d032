"""A router at its admin API, over HTTP: what commands ask, for those whom its own port does not reach."""
