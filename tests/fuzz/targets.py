"""Everything that is fuzzed."""

from tests.fuzz.decoder import STRUCTURE, STRUCTURE_ANYTHING, TAKE_APART
from tests.fuzz.handshakes import KNOCK
from tests.fuzz.openings import TAKE_ANSWERS
from tests.fuzz.packed import READ_PACKED, TRANSLATE
from tests.fuzz.sessions import CARRY_OUT
from tests.fuzz.websocket import READ, READ_AS_CLIENT

TARGETS = (
    TAKE_APART,
    STRUCTURE,
    STRUCTURE_ANYTHING,
    READ_PACKED,
    TRANSLATE,
    READ,
    READ_AS_CLIENT,
    KNOCK,
    TAKE_ANSWERS,
    CARRY_OUT,
)
