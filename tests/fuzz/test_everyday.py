"""Each target, for a second or two: see the modules for what must hold."""

import pytest
from hypothesis import strategies as st

from tests.fuzz.decoder import STRUCTURE, STRUCTURE_ANYTHING, TAKE_APART
from tests.fuzz.effort import Target, try_out_for
from tests.fuzz.handshakes import KNOCK
from tests.fuzz.openings import TAKE_ANSWERS
from tests.fuzz.packed import READ_PACKED, TRANSLATE
from tests.fuzz.sessions import CARRY_OUT
from tests.fuzz.websocket import READ, READ_AS_CLIENT


def test_a_message_is_taken_apart_as_the_standard_library_reads_it() -> None:
    TAKE_APART.try_out()


def test_parameters_are_taken_as_they_are_or_refused_by_name() -> None:
    STRUCTURE.try_out()


def test_whatever_stands_for_parameters_a_refusal_is_one_of_ours() -> None:
    STRUCTURE_ANYTHING.try_out()


def test_messagepack_is_read_as_the_same_message_in_json_would_be() -> None:
    READ_PACKED.try_out()


def test_what_passes_between_encodings_is_the_same_value() -> None:
    TRANSLATE.try_out()


def test_bytes_mean_what_they_mean_to_the_library_however_they_are_chopped() -> None:
    READ.try_out()


def test_so_they_do_where_a_router_says_them_to_a_client() -> None:
    READ_AS_CLIENT.try_out()


def test_whatever_comes_instead_of_a_handshake_costs_only_its_sender() -> None:
    KNOCK.try_out()


def test_whatever_answers_a_clients_handshake_it_is_open_or_is_told_why_not() -> None:
    TAKE_ANSWERS.try_out()


def test_whatever_a_session_does_costs_nobody_else_and_leaves_nothing() -> None:
    CARRY_OUT.try_out()


def test_chance_goes_on_until_its_time_is_up() -> None:
    tried: list[bool] = []

    def note(value: bool) -> None:
        tried.append(value)

    targets = [Target(check=note, inputs=st.booleans(), everyday=2)] * 3
    assert try_out_for(0.1, targets, chance=1) >= 6
    assert set(tried) == {True, False}


def test_a_target_that_does_not_hold_is_found() -> None:
    def hold(number: int) -> None:
        assert number < 1000

    with pytest.raises(AssertionError):
        Target(check=hold, inputs=st.integers(), everyday=200).try_out()
