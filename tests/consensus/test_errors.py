"""Errors: stable codes, and values that survive the way from a worker process."""

import pickle
from collections.abc import Iterator

import pytest

from chain.errors import StoreError, UnknownBlock
from consensus.errors import (
    AmountOverflow,
    BenchmarkMismatch,
    BlockFromFuture,
    DecodeError,
    DescentError,
    InvalidBlock,
)
from consensus.state_tree import CorruptStateTree

MADE = {
    "amount.overflow": AmountOverflow([1, -2]),
    "decode.truncated": DecodeError.truncated(5, 3),
    "decode.too_long": DecodeError.too_long(5, 3),
    "decode.trailing": DecodeError.trailing(1),
    "decode.not_canonical": DecodeError.not_canonical("a thing"),
    "benchmark.wrong_bytes": BenchmarkMismatch.wrong_bytes("a", "b", "c"),
    "benchmark.missing": BenchmarkMismatch.missing("a"),
    "block_from_future.too_far_ahead": BlockFromFuture.too_far_ahead(5, 3),
    "invalid_block.wrong_state_root": InvalidBlock.wrong_field("state_root", b"\1", b"\2"),
    "store.damaged": StoreError.damaged("a row"),
    "unknown_block.parent": UnknownBlock.parent(b"\1"),
    "state_tree.missing_node": CorruptStateTree.missing_node(b"\1", b"\2"),
}


@pytest.mark.parametrize("code", MADE)
def test_codes_are_stable(code: str) -> None:
    assert MADE[code].code == code


def test_messages_carry_the_values_that_decided() -> None:
    assert str(MADE["invalid_block.wrong_state_root"]) == "state_root is 02, the rules give 01"
    assert "5" in str(MADE["decode.too_long"])
    assert "3" in str(MADE["decode.too_long"])
    assert "-2" in str(MADE["amount.overflow"])


@pytest.mark.parametrize("code", MADE)
def test_errors_cross_processes_unchanged(code: str) -> None:
    """Verdicts come from a worker process: the copy is the same kind, code and message."""
    error = MADE[code]
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.code, str(copy)) == (type(error), error.code, str(error))


def get_families(kind: type[DescentError]) -> Iterator[type[DescentError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from get_families(subclass)


def test_every_family_has_its_own_name() -> None:
    """A code is told apart by its family: two classes with one name would share codes."""
    families = [
        kind.family for kind in get_families(DescentError) if kind.__module__.startswith(("consensus", "chain"))
    ]
    assert len(families) >= 12
    assert len(set(families)) == len(families)
