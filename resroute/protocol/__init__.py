"""What is said on the wire: JSON-RPC envelopes, the method table, strict structuring, calls in flight. Pure."""
