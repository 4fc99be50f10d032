"""Everything that is fuzzed."""

from tests.fuzz.decoder import STRUCTURE, STRUCTURE_ANYTHING, TAKE_APART
from tests.fuzz.handshakes import KNOCK
from tests.fuzz.sessions import CARRY_OUT
from tests.fuzz.websocket import READ

TARGETS = (TAKE_APART, STRUCTURE, STRUCTURE_ANYTHING, READ, KNOCK, CARRY_OUT)
