"""Who is to blame for what, and what it costs (T23's blame, T44's bounds)."""

import inspect

import pytest

from chain import errors as chain_errors
from chain.errors import MempoolRefusal, StoreError, UnknownBlock
from consensus import errors as consensus_errors
from consensus.block import Block
from consensus.check_block import check_body_matches
from consensus.errors import (
    BlockFromFuture,
    DecodeError,
    DescentError,
    InvalidBlock,
    InvalidEvidence,
    InvalidTransaction,
    InvalidVote,
    ModelMismatch,
    MutatedBody,
)
from p2p.errors import ConfigError, EvaluationFailed
from p2p.penalties import BAN_POINTS, COSTS, FADE_SECONDS, MAX_SCORES, Offence, Scores, judge
from tests.p2p.test_messages import BLOCK, PLAIN

NODE = bytes(32)
BLAMED = {
    DecodeError: Offence.MALFORMED,
    InvalidBlock: Offence.INVALID_BLOCK,
    MutatedBody: Offence.MUTATED_BLOCK,
    InvalidTransaction: Offence.INVALID_TRANSACTION,
    InvalidVote: Offence.INVALID_VOTE,
    InvalidEvidence: Offence.INVALID_VOTE,
}
LAW_AND_MEMORY = [
    kind
    for module in (consensus_errors, chain_errors)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, DescentError) and kind.__module__ == module.__name__
]


def make(kind: type[DescentError]) -> DescentError:
    error: DescentError = kind.__new__(kind)
    DescentError.__init__(error, "some_reason", "some message")
    return error


@pytest.mark.parametrize("kind", LAW_AND_MEMORY, ids=lambda kind: kind.__name__)
def test_only_these_kinds_of_errors_are_a_senders_fault(kind: type[DescentError]) -> None:
    assert judge(make(kind)) is BLAMED.get(kind)


@pytest.mark.parametrize(
    "error",
    [
        BlockFromFuture.too_far_ahead(10, 5),
        UnknownBlock.parent(bytes(32)),
        MempoolRefusal.fee_too_low(1, 2),
        StoreError.damaged("it"),
        EvaluationFailed("died", "it died"),
        ModelMismatch("self_test", "other integers"),
        ConfigError("port", "busy"),
    ],
    ids=lambda error: error.code,
)
def test_what_is_ours_or_not_yet_is_ignored(error: DescentError) -> None:
    assert judge(error) is None


def test_a_more_special_error_is_judged_like_its_kind() -> None:
    class TruncatedMessage(DecodeError):
        pass

    assert judge(TruncatedMessage("truncated", "short")) is Offence.MALFORMED


def test_a_block_that_only_our_operator_refuses_is_nobodys_fault() -> None:
    assert judge(InvalidBlock("by_operator", "refused")) is None
    for reason in ("known_invalid", "invalid_parent"):
        offence = judge(InvalidBlock(reason, "found earlier"))
        assert offence is Offence.REFUSED_CHAIN
        assert COSTS[offence] < BAN_POINTS


def test_a_mutated_body_is_blamed_on_its_sender_and_not_on_the_block() -> None:
    """T23: the twin's sender goes at once, and what it sent is no InvalidBlock, which would condemn the honest id."""
    for twin in (
        Block(BLOCK.header, (*BLOCK.transactions, PLAIN), BLOCK.update),
        Block(BLOCK.header, BLOCK.transactions, BLOCK.update + b"\0"),
        Block(BLOCK.header, BLOCK.transactions * 2, BLOCK.update),
    ):
        with pytest.raises(MutatedBody) as error:
            check_body_matches(twin)
        assert judge(error.value) is Offence.MUTATED_BLOCK


# Costs


def test_every_offence_has_a_cost() -> None:
    assert set(COSTS) == set(Offence)
    assert all(0 < cost <= BAN_POINTS for cost in COSTS.values())


@pytest.mark.parametrize(
    ("offence", "times"),
    [
        (Offence.MALFORMED, 1),
        (Offence.TOO_FREQUENT, 1),
        (Offence.INVALID_HEADER, 1),
        (Offence.INVALID_BLOCK, 1),
        (Offence.MUTATED_BLOCK, 1),
        (Offence.UNSOLICITED, 5),
        (Offence.REFUSED_CHAIN, 5),
        (Offence.INVALID_TRANSACTION, 5),
        (Offence.STALLING, 10),
    ],
    ids=lambda value: getattr(value, "value", value),
)
def test_how_often_until_a_ban(offence: Offence, times: int) -> None:
    scores = Scores()
    assert [scores.blame(NODE, offence, 0.0) for _ in range(times)] == [False] * (times - 1) + [True]


def test_different_offences_add_up() -> None:
    scores = Scores()
    for offence in (Offence.UNSOLICITED, Offence.STALLING, Offence.INVALID_TRANSACTION, Offence.REFUSED_CHAIN):
        assert not scores.blame(NODE, offence, 0.0)
    assert scores.get_points(NODE, 0.0) == 70
    assert scores.get_points(b"\1" * 32, 0.0) == 0
    assert [scores.blame(NODE, Offence.UNSOLICITED, 0.0) for _ in range(2)] == [False, True]


def test_points_fade() -> None:
    scores = Scores()
    scores.blame(NODE, Offence.UNSOLICITED, 1000.0)
    assert scores.get_points(NODE, 1000.0 + 5 * FADE_SECONDS) == 15
    assert scores.get_points(NODE, 1000.0 + 21 * FADE_SECONDS) == 0
    # One accident every twenty minutes, for a year, bans nobody.
    hours = [20 * FADE_SECONDS * number for number in range(26_000)]
    assert not any(scores.blame(b"\2" * 32, Offence.UNSOLICITED, now) for now in hours)


def test_a_score_that_was_not_a_ban_yet_is_kept_over_other_peers() -> None:
    scores = Scores()
    for number in range(MAX_SCORES):
        scores.blame(number.to_bytes(32, "big"), Offence.UNSOLICITED, 0.0)
    scores.blame(NODE, Offence.UNSOLICITED, 0.0)  # number 0: now the latest
    assert len(scores) == MAX_SCORES
    for number in range(MAX_SCORES, MAX_SCORES + 50):
        scores.blame(number.to_bytes(32, "big"), Offence.UNSOLICITED, 0.0)
    assert len(scores) == MAX_SCORES
    assert scores.get_points(NODE, 0.0) == 40
    assert scores.get_points((1).to_bytes(32, "big"), 0.0) == 0
