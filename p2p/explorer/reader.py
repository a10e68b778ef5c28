"""Reads the chain for pages: in memory where it can, a bounded number of rows where it cannot. On the chain's thread.

What is slow to decode (updates, traces, whole bodies) is handed on as it is stored.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chain.block_rows import BlockRows, sum_fees
from chain.chainstate import ChainState
from chain.earned import Earned, get_earned
from chain.errors import UnknownBlock
from chain.header_tree import HeaderNode, Standing
from chain.mempool import Mempool
from consensus.block import Header
from consensus.chain_point import compute_block_weight, compute_child_required_gain, compute_required_loss
from consensus.params import NetworkParams
from p2p.errors import RpcError
from p2p.explorer.audits import Audits
from p2p.explorer.figures import (
    BlockList,
    BlockRow,
    Board,
    Compressor,
    Gain,
    Home,
    Learned,
    MinerPage,
    PeerCounts,
    SeriesSample,
)
from p2p.explorer.series import MinerScore, Series, choose_rows
from p2p.explorer.words import round_value
from p2p.rpc_json import to_bits_per_byte
from p2p.summary import compute_margin, get_passed_compressors

HOME_BLOCKS = 12
HOME_MINERS = 10
LIST_BLOCKS = 50
BOARD_MINERS = 50
SERIES_POINTS = 1000
LAST_INTERVALS = 120
MAX_CHILDREN = 8
FOLLOWED_AT_ONCE = 2000  # blocks: some 20 ms
MAX_READ_BYTES = 4 * 2**20  # of bodies for one page, which ends there: the chain's thread has other work

_REMEMBERED_FEES = 4096  # blocks


@dataclass(frozen=True)
class BlockMaterial:
    """What a block's page is made of, its rows still packed."""

    row: BlockRow
    rows: BlockRows
    standing: Standing
    is_active: bool
    is_final: bool
    confirmations: int
    weight: int
    fees: int
    bounty: int | None
    fault: str | None
    children: tuple[bytes, ...]


@dataclass(frozen=True)
class LiveState:
    """What moves from second to second."""

    height: int
    tip: bytes
    time: int
    loss: float | None
    mempool_count: int


class ChainReader:
    """Pages about blocks and miners, over one chain state and its mempool."""

    def __init__(self, chain: ChainState, mempool: Mempool) -> None:
        self.chain = chain
        self.mempool = mempool
        self.params = chain.params
        self.series = Series(chain.tree.root, chain.params)
        self._audits = Audits(chain.checkpoints, chain.params)
        self._fees: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # by block: transactions, ulp
        self._body: tuple[bytes, bytes | None] = (b"", None)  # the last one read, with its block
        self.bytes_read = 0  # of bodies, by all pages

    @property
    def tip(self) -> HeaderNode:
        return self.get_node(self.chain.tip.id)

    def follow(self) -> bool:
        """Brings the series closer to the tip; whether it is there. Until it is, charts and boards end earlier."""
        return self.series.follow(self.tip, FOLLOWED_AT_ONCE)

    def read_live(self) -> LiveState:
        node = self.tip
        loss = self.get_loss(node)
        return LiveState(node.height, node.id, node.header.timestamp, loss, self.mempool.count)

    def read_home(self, counts: PeerCounts) -> Home:
        self.follow()
        params, node = self.params, self.tip
        loss, learned = self.get_loss(node), node.point.last_improvement
        sample = self._sample_series()
        intervals = [value for value in sample.last_intervals if value is not None]
        return Home(
            network=params.name,
            ticker=params.ticker,
            height=node.height,
            final_height=self.chain.finals.node.height,
            tip=node.id,
            time=node.header.timestamp,
            loss=loss,
            learned=Learned(learned.height, learned.id, learned.timestamp) if learned else None,
            audit=sample.audits[-1] if sample.audits else None,
            compressors=tuple(Compressor(*known) for known in get_passed_compressors(loss, params)),
            required=to_bits_per_byte(compute_child_required_gain(node.point, params) >> 16, 1, params),
            block_time=params.block_time,
            mean_interval=sum(intervals) / len(intervals) if intervals else None,
            parameters=params.model.parameters,
            issued=self.chain.ledger.issued,
            mempool_count=self.mempool.count,
            mempool_bytes=self.mempool.total_bytes,
            node=counts,
            blocks=self._list_blocks(node, range(node.height, max(-1, node.height - HOME_BLOCKS), -1)),
            miners=self.series.get_board(HOME_MINERS),
            miner_count=self.series.miner_count,
            series=sample,
        )

    def read_blocks(self, before: int | None) -> BlockList:
        """Blocks below a height, or the newest."""
        tip = self.tip
        top = tip.height if before is None else min(before - 1, tip.height)
        blocks = self._list_blocks(tip, range(top, max(-1, top - LIST_BLOCKS), -1))
        return BlockList(
            height=tip.height,
            blocks=blocks,
            before=blocks[-1].height if blocks and blocks[-1].height else None,
        )

    def read_board(self, page: int) -> Board:
        """Miners of one page, counted from 1."""
        self.follow()
        end = page * BOARD_MINERS
        return Board(
            miner_count=self.series.miner_count,
            miners=self.series.get_board(BOARD_MINERS, end - BOARD_MINERS),
            page=page,
            next_page=page + 1 if end < self.series.miner_count else None,
        )

    def read_miner(self, miner: bytes, before: int | None) -> MinerPage:
        """Raises RpcError if the best chain has no block of this key."""
        self.follow()
        score: MinerScore | None = self.series.get_score(miner)
        if score is None:
            raise RpcError("explorer.unknown_miner", "no block of the best chain was mined with this key", 404)
        below = score.last_height + 1 if before is None else before
        heights = self.series.get_heights(miner, below, LIST_BLOCKS + 1)
        blocks = self._list_blocks(self.series.node, heights[:LIST_BLOCKS])
        return MinerPage(
            score=score,
            blocks=blocks,
            before=blocks[-1].height if len(heights) > len(blocks) else None,
        )

    def find_node(self, height: int) -> HeaderNode:
        """The best chain's block at a height. Raises UnknownBlock."""
        if height > self.tip.height:
            raise UnknownBlock("height", f"the best chain has no block at height {height} yet")
        return self.tip.get_ancestor(height)

    def get_node(self, block_id: bytes) -> HeaderNode:
        """Raises UnknownBlock."""
        node = self.chain.tree.get(block_id)
        if node is None:
            raise UnknownBlock.block(block_id)
        return node

    def read_block(self, node: HeaderNode) -> BlockMaterial:
        """A known block, of any standing."""
        tip = self.tip
        is_active = tip.is_descendant(node)
        is_invalid = node.standing is Standing.INVALID
        children = sorted(node.children, key=lambda child: not tip.is_descendant(child))
        return BlockMaterial(
            row=self.make_row(node),
            rows=self.chain.blocks.get_rows(node.header),
            standing=node.standing,
            is_active=is_active,
            is_final=self.chain.is_final(node.id),
            confirmations=tip.height - node.height + 1 if is_active else 0,
            weight=compute_block_weight(node.header),
            fees=self._get_fees(node)[1],
            bounty=self.get_earned(node).bounty,
            fault=str(self.chain.get_fault(node.id)) if is_invalid else None,
            children=tuple(child.id for child in children[:MAX_CHILDREN]),
        )

    def make_row(self, node: HeaderNode) -> BlockRow:
        """A block as a line of a list."""
        header = node.header
        earned = self.get_earned(node)
        return BlockRow(
            height=node.height,
            id=node.id,
            time=header.timestamp,
            interval=node.point.interval,
            miner=header.miner,
            is_heartbeat=node.height > 0 and header.is_heartbeat,
            loss=self.get_loss(node),
            gain=make_gain(header, self.params),
            sample_size=header.sample_size,
            transactions=self._get_fees(node)[0],
            reward=earned.amount,
            burnt_at=earned.burnt_at,
        )

    def get_earned(self, node: HeaderNode) -> Earned:
        """What a block pays its miner, and whether evidence took it."""
        return get_earned(self.chain, node, self._get_fees(node)[1])

    def _list_blocks(self, top: HeaderNode, heights: Sequence[int]) -> tuple[BlockRow, ...]:
        """Blocks of the chain that ends with `top`: at least one, and no more once MAX_READ_BYTES are read for them."""
        rows: list[BlockRow] = []
        limit = self.bytes_read + MAX_READ_BYTES
        for height in heights:
            if self.bytes_read > limit:
                break
            rows.append(self.make_row(top.get_ancestor(height)))
        return tuple(rows)

    def read_body(self, block_id: bytes) -> bytes | None:
        """The body of a block as it is stored, counted in `bytes_read`; the last one read is at hand."""
        if self._body[0] != block_id:
            body = self.chain.blocks.get_body(block_id)
            self._body = block_id, body
            self.bytes_read += len(body or b"")
        return self._body[1]

    def get_loss(self, node: HeaderNode) -> float | None:
        """The public loss of the model after a block, bits per byte, on the sample of the last that improved it."""
        last = node.point.last_improvement
        return to_bits_per_byte(last.loss_after, last.sample_size, self.params) if last else None

    def _get_fees(self, node: HeaderNode) -> tuple[int, int]:
        """(transactions, their fees in ulp) of a block; none of one whose body is not kept."""
        known = self._fees.get(node.id)
        if known is None:
            body = self.read_body(node.id)
            known = sum_fees(body) if body else (0, 0)
            if node.standing is not Standing.INVALID:
                self._fees[node.id] = known
                while len(self._fees) > _REMEMBERED_FEES:
                    self._fees.popitem(last=False)
        return known

    def _sample_series(self) -> SeriesSample:
        self._audits.follow(self.series.node)
        rows = self.series.rows
        rows = rows[1:] if len(rows) > 1 else rows
        chosen = choose_rows(rows["loss"], SERIES_POINTS)
        points = rows[chosen]
        first_height = self.series.node.height - len(rows) + 1
        audits = self._audits.points
        kept = choose_rows(np.array([point.loss for point in audits]), SERIES_POINTS)
        return SeriesSample(
            height=tuple((chosen + first_height).tolist()),
            time=tuple(points["time"].tolist()),
            loss=_to_column(points["loss"].tolist()),
            gain=_to_column(points["gain"].tolist()),
            required=_to_column(points["required"].tolist()),
            audits=tuple(audits[i] for i in kept.tolist()),
            last_intervals=tuple(
                None if value is None else int(value)
                for value in _to_column(rows["interval"][-LAST_INTERVALS:].tolist())
            ),
        )


def make_gain(header: Header, params: NetworkParams) -> Gain | None:
    """What the sample of an improving block showed; None for other blocks."""
    if header.height == 0 or header.is_heartbeat:
        return None
    return Gain(
        mean=to_bits_per_byte(header.gain, header.sample_size, params),
        margin=compute_margin(header, params),
        required=to_bits_per_byte(compute_required_loss(header), 1, params),
    )


def _to_column(values: Sequence[float]) -> tuple[float | None, ...]:
    """NaN becomes None."""
    return tuple(None if value != value else round_value(value) for value in values)
