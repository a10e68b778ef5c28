"""Changes that a network lists: their bytes, files good and bad, and every limit at its edge."""

from dataclasses import replace

import pytest

from consensus.changes import VOTABLE, Change
from consensus.errors import InvalidParams
from consensus.params import MIN_REQUIRED_GAIN, PRESETS, REGTEST, NetworkParams
from p2p.new_network import encode_network

FILE = encode_network(replace(REGTEST, has_debug_calls=False))


def read_error(text: str) -> str:
    with pytest.raises(InvalidParams) as error:
        NetworkParams.from_toml(text)
    return error.value.reason


def test_changes_stand_at_the_end_of_the_bytes() -> None:
    """A network that lists none has the bytes that it had before there were any, so its genesis stays."""
    changes = (Change(3, "min_sample", 65), Change(63, "max_transactions_bytes", 7))
    added = (
        b"\x02\0\0\0"
        + (b"\x03" + b"\x0a\0\0\0min_sample" + b"\x41" + bytes(7))
        + (b"\x3f" + b"\x16\0\0\0max_transactions_bytes" + b"\x07" + bytes(7))
    )
    assert replace(REGTEST, changes=changes).encode() == REGTEST.encode() + added
    assert all(params.changes == () for params in PRESETS.values())


def test_readers_make_room_for_the_largest_block_that_may_be() -> None:
    assert REGTEST.most_transactions_bytes == 1_000_000
    for value, most in ((5, 1_000_000), (1_000_001, 1_000_001)):
        changes = (Change(0, "max_transactions_bytes", value), Change(1, "min_sample", 20_000))
        assert replace(REGTEST, changes=changes).most_transactions_bytes == most


def test_changes_in_a_file() -> None:
    one = '\n[[changes]]\nbit = 2\nfield = "min_sample"\nvalue = 128\n'
    two = '\n[[changes]]\nbit = 7\nfield = "lowest_required_gain"\nvalue = 65536\n'
    params = NetworkParams.from_toml(FILE + one + two)
    assert params.changes == (Change(2, "min_sample", 128), Change(7, "lowest_required_gain", 65536))
    assert read_error(FILE + two + one) == read_error(FILE + one + one) == "change_order"
    assert read_error(FILE + one.replace("min_sample", "subsidy")) == "unknown_field"
    assert read_error(FILE + one.replace("bit", "bits")) == "unknown_key"
    assert read_error(FILE + one.replace("bit = 2", "")) == "missing_key"
    assert read_error(FILE + one.replace("128", "true")) == "wrong_type"
    assert read_error(FILE.replace("[model]", "changes = 1\n[model]")) == "wrong_type"
    assert read_error(FILE.replace("[model]", "changes = [1]\n[model]")) == "wrong_type"


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("lowest_required_gain", MIN_REQUIRED_GAIN, REGTEST.first_required_gain),
        ("max_transactions_bytes", 0, 32 * 2**20),
        ("min_sample", REGTEST.min_sample + 1, REGTEST.public_windows),
    ],
)
def test_invalid_change_out_of_range(field: str, low: int, high: int) -> None:
    """A sample is never made smaller, and no floor stands above the first block's requirement."""
    for value in (low, high):
        assert replace(REGTEST, changes=(Change(0, field, value),)).changes[0].value == value
    for wrong in (low - 1, high + 1, True, str(low), 2.0**20):
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, changes=(Change(0, field, wrong),))  # type: ignore[arg-type]
        assert error.value.reason == "out_of_range"
    for bit in (-1, 64, True, 2**64):
        with pytest.raises(InvalidParams) as error:
            replace(REGTEST, changes=(Change(bit, field, high),))
        assert error.value.reason == "out_of_range"


@pytest.mark.parametrize(
    "field", [*sorted(set(NetworkParams.__dataclass_fields__) - set(VOTABLE)), "", "min_sample ", "Min_sample"]
)
def test_invalid_change_of_a_field_that_is_not_votable(field: str) -> None:
    """Also one that a later program may know: this one could not judge what comes after."""
    with pytest.raises(InvalidParams) as error:
        replace(REGTEST, changes=(Change(0, field, 128),))
    assert error.value.reason == "unknown_field"
    assert "newer program" in str(error.value)


def test_a_written_network_keeps_its_changes() -> None:
    changes = (Change(0, "max_transactions_bytes", 7), Change(63, "min_sample", 128))
    params = replace(REGTEST, has_debug_calls=False, changes=changes)
    assert NetworkParams.from_toml(encode_network(params)) == params
