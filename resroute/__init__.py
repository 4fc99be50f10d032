"""A router for calls to resources: each resource has one owner, for exactly as long as the owner's connection lives."""
