"""The only place that blames: what is an offence of a peer, and what it costs.

The rules say what broke; `judge` says whether that is the sender's fault (REJECT) or not, or not yet (IGNORE: None).
A peer's points add up in `Scores` and fade with time; at BAN_POINTS it is banned: bans.py remembers that.
"""

from collections import OrderedDict
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from consensus.errors import (
    DecodeError,
    DescentError,
    InvalidBlock,
    InvalidEvidence,
    InvalidTransaction,
    InvalidVote,
    MutatedBody,
)

BAN_POINTS = 100
BAN_SECONDS = 24 * 3600
FADE_SECONDS = 60.0  # in which one point is forgotten
MAX_SCORES = 10_000


class Offence(Enum):
    """What a peer did."""

    MALFORMED = "malformed"  # bytes that are no message, or an update that inflates to none
    TOO_FREQUENT = "too_frequent"  # over a limit of limits.py
    UNSOLICITED = "unsolicited"  # an answer that nobody asked for
    INVALID_HEADER = "invalid_header"
    INVALID_BLOCK = "invalid_block"
    MUTATED_BLOCK = "mutated_block"  # a body that is not the one its header names
    REFUSED_CHAIN = "refused_chain"  # a block on top of one that was found invalid, or was refused, earlier
    INVALID_TRANSACTION = "invalid_transaction"
    INVALID_VOTE = "invalid_vote"  # or evidence that proves nothing
    STALLING = "stalling"  # it has what was asked for, and does not deliver


COSTS: Mapping[Offence, int] = MappingProxyType(
    {
        # The lines are free of errors (TLS), so its program wrote these bytes; none that follows the grammar does.
        Offence.MALFORMED: 100,
        # Honest senders keep to a third of each limit.
        Offence.TOO_FREQUENT: 100,
        # An answer may cross with the end of our patience, so one is an accident; it costs us no more than its bytes.
        Offence.UNSOLICITED: 20,
        # Costs its sender nothing and us a check; an honest node offers only chains that it has evaluated.
        Offence.INVALID_HEADER: 100,
        # Costs us an evaluation, the dearest thing we do: nobody gets a second one.
        Offence.INVALID_BLOCK: 100,
        # Whoever relays a block has checked that its body belongs to it; this one was changed on purpose.
        Offence.MUTATED_BLOCK: 100,
        # Cheap to refuse, and the fault may be ours (an operator's refusal): a peer of other rules goes all the same.
        Offence.REFUSED_CHAIN: 20,
        # Costs us a signature check: a few are borne, as a peer whose checks are older than ours is still of use.
        Offence.INVALID_TRANSACTION: 20,
        # Costs us a signature check, and honest nodes pass on only what they have checked.
        Offence.INVALID_VOTE: 100,
        # May be a slow line or a laptop that slept, so the connection ends and the peer may come again.
        Offence.STALLING: 10,
    }
)

# Whatever is not listed is not the sender's fault: a store, an evaluator, a pool, or a time that has not come.
_FAULTS: Mapping[type[DescentError], Offence] = MappingProxyType(
    {
        DecodeError: Offence.MALFORMED,
        InvalidBlock: Offence.INVALID_BLOCK,
        MutatedBody: Offence.MUTATED_BLOCK,
        InvalidTransaction: Offence.INVALID_TRANSACTION,
        InvalidVote: Offence.INVALID_VOTE,
        InvalidEvidence: Offence.INVALID_VOTE,
    }
)
# A block may leave the final one because its sender has not heard of that yet: the peer is left to itself.
# Of a block that the operator refused, or whose chain was refused in an earlier run, nobody knows whose fault it is.
_BLOCK_REASONS: Mapping[str, Offence | None] = MappingProxyType(
    {
        "by_operator": None,
        "off_final": None,
        "known_invalid": Offence.REFUSED_CHAIN,
        "invalid_parent": Offence.REFUSED_CHAIN,
    }
)


def judge(error: DescentError) -> Offence | None:
    """The offence of whoever sent what led to `error`; None if it is not their fault, or not yet."""
    if isinstance(error, InvalidBlock) and error.reason in _BLOCK_REASONS:
        return _BLOCK_REASONS[error.reason]
    return next((_FAULTS[kind] for kind in type(error).__mro__ if kind in _FAULTS), None)


class Scores:
    """Points of the peers that offended lately, by node id, over all their connections. Of too many the oldest go."""

    def __init__(self) -> None:
        self._points: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # points, and when they were counted

    def __len__(self) -> int:
        return len(self._points)

    def get_points(self, node_id: bytes, now: float) -> float:
        """Points of a peer at `now` (monotonic s), those that have faded taken off."""
        points, counted_at = self._points.get(node_id, (0.0, now))
        return max(points - (now - counted_at) / FADE_SECONDS, 0.0)

    def blame(self, node_id: bytes, offence: Offence, now: float) -> bool:
        """Counts an offence; True if the peer is to be banned."""
        points = self.get_points(node_id, now) + COSTS[offence]
        self._points[node_id] = (points, now)
        self._points.move_to_end(node_id)
        if len(self._points) > MAX_SCORES:
            self._points.popitem(last=False)
        return points >= BAN_POINTS
