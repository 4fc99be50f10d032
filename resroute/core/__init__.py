"""Who owns what: commands go in, facts come out. Pure: no I/O, no clock, no random source, no settings."""
