"""The log of commands: its interface, and the homes it can have."""
