"""Bytes to batches of messages and back: WebSocket over any Trio stream, and a linked pair in memory."""
