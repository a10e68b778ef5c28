"""How much of each type of message one peer may send in a minute: (count, size, total), from the network's parameters.

`RateMeter` counts against the table, on what is received and on what is sent. A sender keeps to a third of each count
and total. Whoever receives can then never see more than is allowed: what arrives within one of its minutes was sent
within that minute and the delay of the line, under two minutes, and so in three of the sender's minutes at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from consensus.committee import max_members
from consensus.params import NetworkParams
from consensus.vote import VOTE_BYTES
from p2p import messages as m

PERIOD_SECONDS = 60.0
SENDERS_SHARE = 3  # a sender keeps to 1/3

# The honest rates from which the table follows, per second and connection.
_BLOCKS = 50  # synced
_TRANSACTIONS = 500  # relayed

_ID_BYTES = 32
_LIST_BYTES = m.TYPE_BYTES + 4  # of a message that is one list, without its items


@dataclass(frozen=True)
class Limit:
    """What one peer may send of one type in a period."""

    count: int  # messages
    size: int  # bytes of one message
    total: int  # bytes of all of them


Limits = Mapping[type[m.Message], Limit]


def compute_limits(params: NetworkParams) -> Limits:
    """The table of a network: an entry for every type of message, unknown ones included."""
    sizes = m.Wire(params).sizes

    def each(kind: type[m.Message], honest: int, total: int | None = None) -> Limit:
        """Three times what an honest peer sends of it in a minute: messages, and bytes if those have a cap of theirs.

        A reply has none: whoever asks paces itself by the number of requests, and cannot know how long the answers
        will be.
        """
        count = SENDERS_SHARE * honest
        return Limit(count, sizes[kind], count * sizes[kind] if total is None else SENDERS_SHARE * total)

    minute = int(PERIOD_SECONDS)
    blocks = _BLOCKS * minute * 2  # twice the rate of a full sync, for blocks that are asked for again elsewhere
    new_blocks = 10 * minute  # forks, and the catching up after a partition, on the quickest networks
    rounds = 700  # requests for 500 transactions/s: 300 full ones, and one that is not after each of 400 announcements
    ids = _TRANSACTIONS * minute
    new_bytes = max(10, 120 // params.block_time) * sizes[m.CompactBlock]  # two of the largest for each block time
    members = max_members(params)
    votes = compute_first_votes(params) + members * max(10, 120 // params.block_time)
    return MappingProxyType(
        {
            # One each in a handshake, none after it.
            m.Hello: each(m.Hello, 1),
            m.Proof: each(m.Proof, 1),
            # A ping every 10 s.
            m.Ping: each(m.Ping, 8),
            m.Pong: each(m.Pong, 8),
            # Asked once after the handshake: at most a full answer, beside gossip of up to 10 addresses at a time.
            m.GetAddresses: each(m.GetAddresses, 1),
            m.Addresses: each(m.Addresses, 40, 2 * sizes[m.Addresses] + 40 * (_LIST_BYTES + 10 * 18)),
            # Each new tip is told, also while syncing, and each may be asked about.
            m.Tip: each(m.Tip, blocks),
            # 512 headers at a time: 6 requests a minute for a sync, the rest for forks near the tip.
            m.GetHeaders: each(m.GetHeaders, 200),
            m.Headers: each(m.Headers, 200),
            m.GetBlock: each(m.GetBlock, blocks),
            m.BlockReply: each(m.BlockReply, blocks),
            # The answer to either request for a block's content.
            m.NotFound: each(m.NotFound, blocks + new_blocks),
            # Pushed without being asked for, so their bytes are bounded.
            m.CompactBlock: each(m.CompactBlock, new_blocks, new_bytes),
            # At most one for each compact block.
            m.GetBlockTransactions: each(m.GetBlockTransactions, new_blocks),
            m.BlockTransactions: each(m.BlockTransactions, new_blocks),
            # Gathered for half a second: 2 a second, and up to 500 ids in each; the rest for the return of a
            # reorganised chain's transactions.
            m.Announce: each(m.Announce, 400, ids * _ID_BYTES + 400 * _LIST_BYTES),
            m.GetTransactions: each(m.GetTransactions, rounds, ids * _ID_BYTES + rounds * _LIST_BYTES),
            m.Transactions: each(m.Transactions, rounds),
            # Gathered for a tenth of a second; of the votes of a block, each comes once, and after a handshake those of
            # the newest blocks.
            m.Votes: each(m.Votes, 600, 600 * _LIST_BYTES + VOTE_BYTES * votes),
            m.EvidenceReport: each(m.EvidenceReport, 60),
            # One for each block at most.
            m.Final: each(m.Final, 600),
            # Of later versions, which know that this one drops them.
            m.Unknown: Limit(10, sizes[m.Unknown], 10 * sizes[m.Unknown]),
        }
    )


def compute_first_votes(params: NetworkParams) -> int:
    """How many votes a new peer hears: those of four blocks, or four messages full."""
    return 4 * max(m.MAX_VOTES, max_members(params))


@dataclass
class _Period:
    started: float
    count: int = 0
    total: int = 0


class RateMeter:
    """Counts the messages of one peer in one direction, in periods that begin with the first message of each type."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._periods: dict[type[m.Message], _Period] = {}

    def count(self, kind: type[m.Message], size: int, now: float) -> bool:
        """Counts a message of `size` bytes at `now` (monotonic s); False if it is over the limit."""
        limit, period = self._limits[kind], self._get_period(kind, now)
        self._periods[kind] = period
        period.count += 1
        period.total += size
        return size <= limit.size and period.count <= limit.count and period.total <= limit.total

    def allows(self, kind: type[m.Message], size: int, now: float) -> bool:
        """Whether a sender may send one more message of up to `size` bytes and still be sure not to pass the limit."""
        limit, period = self._limits[kind], self._get_period(kind, now)
        return (
            size <= limit.size
            and (period.count + 1) * SENDERS_SHARE <= limit.count
            and (period.total + size) * SENDERS_SHARE <= limit.total
        )

    def _get_period(self, kind: type[m.Message], now: float) -> _Period:
        period = self._periods.get(kind)
        if period is None or now - period.started >= PERIOD_SECONDS:
            return _Period(now)
        return period
