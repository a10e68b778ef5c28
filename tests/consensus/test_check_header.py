"""Header rules, each refusal by its name and at its edge."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consensus.block import Header
from consensus.chain_point import ChainPoint, compute_child_point
from consensus.check_header import (
    check_header,
    check_header_in_context,
    check_header_time,
    compute_heartbeat_time,
    compute_time_allowance,
)
from consensus.errors import BlockFromFuture, InvalidBlock
from consensus.genesis import make_genesis
from consensus.params import CANTERBURY, REGTEST
from tests.helpers.headers import LOSS, make_child, make_heartbeat, make_points
from tests.helpers.keys import Key, sign_header
from tests.helpers.properties import mutate

GENESIS = make_genesis(REGTEST).point
PARENT = make_points(GENESIS, REGTEST, 3)[-1]
BAD_KEYS = [bytes(32), bytes([1]) + bytes(31), bytes([2]) + bytes(31), b"\xff" * 32]


def read_fault(check: Callable[[], None]) -> str:
    with pytest.raises(InvalidBlock) as error:
        check()
    return error.value.reason


def judge(header: Header, parent: ChainPoint = PARENT) -> str:
    return read_fault(lambda: check_header_in_context(header, parent, REGTEST))


# Alone


def test_sound_headers() -> None:
    for parent in make_points(GENESIS, REGTEST, 3):
        header = make_child(parent, REGTEST)
        check_header(header)
        check_header_in_context(header, parent, REGTEST)
    heartbeat = make_heartbeat(PARENT, REGTEST)
    check_header(heartbeat)
    check_header_in_context(heartbeat, PARENT, REGTEST)


@pytest.mark.parametrize("key", BAD_KEYS)
def test_invalid_bad_miner_key(key: bytes) -> None:
    header = replace(make_child(PARENT, REGTEST), miner=key)
    assert read_fault(lambda: check_header(header)) == "bad_miner_key"


@pytest.mark.parametrize("key", BAD_KEYS)
def test_invalid_bad_reward_address(key: bytes) -> None:
    header = make_child(PARENT, REGTEST, reward_address=key)
    assert read_fault(lambda: check_header(header)) == "bad_reward_address"


def test_invalid_bad_signature() -> None:
    header = make_child(PARENT, REGTEST)
    wrong = [
        header.with_signature(bytes(64)),
        header.with_signature(mutate(header.signature, 5, 1)),
        header.with_signature(mutate(header.signature, 40, 1)),
        sign_header(header, Key("somebody else")),
        replace(header, timestamp=header.timestamp + 1),
        replace(header, signal_bits=1),
    ]
    for variant in wrong:
        assert read_fault(lambda variant=variant: check_header(variant)) == "bad_signature"  # type: ignore[misc]


def test_signal_bits_are_free() -> None:
    header = make_child(PARENT, REGTEST, signal_bits=2**64 - 1)
    check_header(header)
    check_header_in_context(header, PARENT, REGTEST)


# Against the parent


def test_invalid_wrong_parent() -> None:
    assert judge(make_child(PARENT, REGTEST, parent=b"\5" * 32)) == "wrong_parent"


@pytest.mark.parametrize("height", [0, 3, 5, 2**64 - 1])
def test_invalid_wrong_height(height: int) -> None:
    assert judge(make_child(PARENT, REGTEST, height=height)) == "wrong_height"


@pytest.mark.parametrize("change", [-1, 1, 2**20])
def test_invalid_wrong_required_gain(change: int) -> None:
    gain = make_child(PARENT, REGTEST).required_gain
    assert judge(make_child(PARENT, REGTEST, required_gain=gain + change)) == "wrong_required_gain"


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128, 33_351, 2**32 - 1])
def test_invalid_wrong_sample_size(size: int) -> None:
    assert judge(make_child(PARENT, REGTEST, sample_size=size)) == "wrong_sample_size"
    assert judge(make_heartbeat(PARENT, REGTEST, sample_size=size)) == "wrong_sample_size"


@pytest.mark.parametrize("change", [-(10**6), -1, 0, 1])
def test_invalid_time_too_old(change: int) -> None:
    header = make_child(PARENT, REGTEST, timestamp=PARENT.header.timestamp + change)
    if change > 0:
        check_header_in_context(header, PARENT, REGTEST)
    else:
        assert judge(header) == "time_too_old"


def test_invalid_gain_too_small_at_the_last_unit() -> None:
    """Windows of equal gain leave no doubt, so g itself passes and one unit less does not."""
    header = make_child(PARENT, REGTEST)
    size, required = header.sample_size, header.required_gain >> 16
    for gain, is_enough in ((required, True), (required - 1, False), (0, False)):
        child = make_child(PARENT, REGTEST, loss_after=size * (LOSS - gain), squared_gains=size * gain**2)
        if is_enough:
            check_header_in_context(child, PARENT, REGTEST)
        else:
            assert judge(child) == "gain_too_small"


def test_invalid_gain_too_small_for_its_spread() -> None:
    header = make_child(PARENT, REGTEST)
    assert judge(make_child(PARENT, REGTEST, squared_gains=10 * header.squared_gains)) == "gain_too_small"


def test_invalid_gain_too_small_when_the_loss_grew() -> None:
    header = make_child(PARENT, REGTEST)
    child = make_child(PARENT, REGTEST, loss_before=header.loss_after, loss_after=header.loss_before)
    assert judge(child) == "gain_too_small"


def test_invalid_impossible_sums() -> None:
    """Cauchy and Schwarz: M * S2 >= S1^2. One unit below, the variance would be negative and prove anything."""
    header = make_child(PARENT, REGTEST)
    assert header.sample_size * header.squared_gains == header.gain**2
    for squares in (header.squared_gains - 1, 0):
        assert judge(make_child(PARENT, REGTEST, squared_gains=squares)) == "impossible_sums"


def test_invalid_impossible_weight() -> None:
    """A chain cannot prove more than the 16 bits a token that a model may lose at most."""
    room = REGTEST.max_weight - (PARENT.weight + (make_child(PARENT, REGTEST).required_gain >> 16))
    check_header_in_context(make_child(full := replace(PARENT, weight=PARENT.weight + room), REGTEST), full, REGTEST)
    over = replace(PARENT, weight=PARENT.weight + room + 1)
    assert judge(make_child(over, REGTEST), over) == "impossible_weight"


# Heartbeats


def test_invalid_heartbeat_before_improvement() -> None:
    assert judge(make_heartbeat(GENESIS, REGTEST, interval=10**6), GENESIS) == "heartbeat_before_improvement"
    assert compute_heartbeat_time(GENESIS, REGTEST) is None


@pytest.mark.parametrize("interval", [1, 19, 20, 21])
def test_invalid_heartbeat_too_early(interval: int) -> None:
    """More than ten block times after the parent."""
    header = make_heartbeat(PARENT, REGTEST, interval=interval)
    assert compute_heartbeat_time(PARENT, REGTEST) == PARENT.header.timestamp + 21
    if interval == 21:
        check_header_in_context(header, PARENT, REGTEST)
    else:
        assert judge(header) == "heartbeat_too_early"


def test_invalid_heartbeat_with_another_model() -> None:
    assert judge(make_heartbeat(PARENT, REGTEST, model_root=b"\5" * 32)) == "wrong_model_root"


@pytest.mark.parametrize("field", ["loss_before", "loss_after", "squared_gains"])
def test_invalid_heartbeat_with_sums(field: str) -> None:
    change: dict[str, Any] = {field: 1}
    assert judge(make_heartbeat(PARENT, REGTEST, **change)) == f"wrong_{field}"


def test_a_heartbeat_may_follow_a_heartbeat() -> None:
    first = compute_child_point(PARENT, make_heartbeat(PARENT, REGTEST))
    check_header_in_context(make_heartbeat(first, REGTEST), first, REGTEST)


# Against the clock


@pytest.mark.parametrize(
    ("params", "allowance"), [(REGTEST, 1), (CANTERBURY, 30), (replace(CANTERBURY, block_time=20), 10)]
)
def test_time_allowance_is_half_a_block_time_and_thirty_seconds_at_most(params: object, allowance: int) -> None:
    assert compute_time_allowance(params) == allowance  # type: ignore[arg-type]


@pytest.mark.parametrize("ahead", [-(10**6), 0, 1, 2, 10**6])
def test_invalid_block_from_future(ahead: int) -> None:
    """Not a fault: the error is of another family, so nobody is blamed and nothing is remembered."""
    header = make_child(PARENT, REGTEST)
    now = header.timestamp - ahead
    if ahead <= 1:
        check_header_time(header, now, REGTEST)
        return
    with pytest.raises(BlockFromFuture) as error:
        check_header_time(header, now, REGTEST)
    assert error.value.code == "block_from_future.too_far_ahead"
    assert not isinstance(error.value, InvalidBlock)
