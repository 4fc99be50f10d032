"""What no correct log does."""


class LogFault(Exception):
    """The log handed the state something that no correct log can. The state must not be used any further."""
