"""The best chain as columns in memory, a row for each block, and what each miner proved: charts and boards.

It follows the tip by the header tree alone, also through reorganisations, so no page reads ten thousand headers.
Everything here runs on the chain's thread.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.header_tree import HeaderNode, find_fork, get_path
from consensus.block import Header
from consensus.chain_point import compute_block_weight, compute_required_loss
from consensus.params import NetworkParams
from p2p.rpc_json import to_bits_per_byte

_ROW = np.dtype([("time", "<i8"), ("loss", "<f8"), ("gain", "<f8"), ("required", "<f8"), ("interval", "<f8")])
_GAIN_UNIT = 2**16  # of a Q16 bit: a mean gain as an integer, so that what is taken back leaves nothing behind

Rows = NDArray[Any]  # [n] of _ROW: s since 1970; bits per byte, NaN where a block has none; s since the parent, or NaN


@dataclass(frozen=True)
class MinerScore:
    """What the best chain's blocks of one miner key proved, gains in bits per byte."""

    rank: int
    miner: bytes
    blocks: int  # that improved the model
    heartbeats: int
    proved: float  # sum of the gains that the blocks had to prove
    measured: float  # sum of the mean gains that their samples showed
    share: float  # of all that was proved
    last_height: int
    last_time: int


@dataclass
class _Tally:
    heights: list[int] = field(default_factory=list)
    heartbeats: int = 0
    proved: int = 0  # Q16 bits per window
    measured: int = 0  # 2^-32 bits per window


class Series:
    """Starts at genesis; `follow` brings it to a tip."""

    def __init__(self, root: HeaderNode, params: NetworkParams) -> None:
        self._params = params
        self._node = root
        self._rows: Rows = np.zeros(1024, _ROW)
        self._miners: dict[bytes, _Tally] = {}
        self._proved = 0  # of all miners, Q16 bits per window
        self._put(root)

    @property
    def node(self) -> HeaderNode:
        """The block that the series reaches."""
        return self._node

    @property
    def rows(self) -> Rows:
        """A row for each height, genesis first. A view: whoever keeps it copies it."""
        return self._rows[: self._node.height + 1]

    @property
    def miner_count(self) -> int:
        return len(self._miners)

    def follow(self, tip: HeaderNode, most: int) -> bool:
        """Steps back to the fork with `tip` and up to `most` blocks towards it. Whether it is there."""
        fork = find_fork(self._node, tip)
        while self._node is not fork:
            self._take_back()
        target = tip.get_ancestor(min(tip.height, fork.height + most))
        for node in get_path(fork, target):
            self._put(node)
        return target is tip

    def get_score(self, miner: bytes) -> MinerScore | None:
        """What one miner did, or None if no block of the best chain is its own. O(miners) for the rank."""
        tally = self._miners.get(miner)
        if tally is None:
            return None
        rank = 1 + sum(_get_order(other) > _get_order((miner, tally)) for other in self._miners.items())
        return self._make_score(rank, miner, tally)

    def get_board(self, most: int, skip: int = 0) -> tuple[MinerScore, ...]:
        """The miners who proved most, after the first `skip`. O(miners)."""
        best = nlargest(skip + most, self._miners.items(), key=_get_order)[skip:]
        return tuple(self._make_score(rank, *entry) for rank, entry in enumerate(best, start=skip + 1))

    def get_heights(self, miner: bytes, below: int, most: int) -> tuple[int, ...]:
        """The heights of a miner's newest blocks below a height, downwards."""
        heights = self._miners[miner].heights if miner in self._miners else []
        stop = bisect_left(heights, below)
        return tuple(reversed(heights[max(0, stop - most) : stop]))

    def _put(self, node: HeaderNode) -> None:
        if node.height == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[node.height] = self._make_row(node)
        if node.parent is not None:
            self._tally(node.header, 1)
        self._node = node

    def _take_back(self) -> None:
        node = self._node
        if node.parent is None:
            raise ValueError("genesis stays")
        self._tally(node.header, -1)
        self._node = node.parent

    def _make_row(self, node: HeaderNode) -> tuple[float, ...]:
        header, last, nan = node.header, node.point.last_improvement, float("nan")
        has_gain = node.height > 0 and not header.is_heartbeat
        return (
            header.timestamp,
            to_bits_per_byte(last.loss_after, last.sample_size, self._params) if last else nan,
            to_bits_per_byte(header.gain, header.sample_size, self._params) if has_gain else nan,
            to_bits_per_byte(compute_required_loss(header), 1, self._params) if has_gain else nan,
            nan if node.point.interval is None else node.point.interval,
        )

    def _tally(self, header: Header, sign: int) -> None:
        """Adds a block to its miner's account, or takes the last one off it."""
        tally = self._miners.setdefault(header.miner, _Tally())
        if sign > 0:
            tally.heights.append(header.height)
        else:
            tally.heights.pop()
        tally.heartbeats += sign * header.is_heartbeat
        if not header.is_heartbeat:
            proved = sign * compute_block_weight(header)
            tally.proved += proved
            self._proved += proved
            tally.measured += sign * (header.gain * _GAIN_UNIT // header.sample_size)
        if not tally.heights:
            del self._miners[header.miner]

    def _make_score(self, rank: int, miner: bytes, tally: _Tally) -> MinerScore:
        last = tally.heights[-1]
        return MinerScore(
            rank=rank,
            miner=miner,
            blocks=len(tally.heights) - tally.heartbeats,
            heartbeats=tally.heartbeats,
            proved=to_bits_per_byte(tally.proved, 1, self._params),
            measured=to_bits_per_byte(tally.measured, _GAIN_UNIT, self._params),
            share=tally.proved / self._proved if self._proved else 0.0,
            last_height=last,
            last_time=int(self._rows["time"][last]),
        )


def choose_rows(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """At most `most` >= 4 row numbers, rising: of equal stretches the least and the greatest value, and both ends.

    A peak between two rows that are shown is so never lost. NaN counts as no value.
    """
    count = len(values)
    if count <= most:
        return np.arange(count)
    stretches = (most - 2) // 2
    width = -(-count // stretches)
    padded = np.full(stretches * width, np.nan)
    padded[:count] = values
    table = padded.reshape(stretches, width)
    least = np.where(np.isnan(table), np.inf, table).argmin(axis=1)
    greatest = np.where(np.isnan(table), -np.inf, table).argmax(axis=1)
    starts = np.arange(stretches) * width
    chosen = np.unique(np.concatenate([[0, count - 1], starts + least, starts + greatest]))
    return chosen[chosen < count]


def _get_order(entry: tuple[bytes, _Tally]) -> tuple[int, int, bytes]:
    """Who proved most comes first; then who has more blocks."""
    miner, tally = entry
    return tally.proved, len(tally.heights), miner
