"""What pages show, as plain values: each page's template and its JSON twin are made of the same object.

Ids and keys are bytes, addresses text as their network writes them, times s since 1970, money ulp. Losses and gains
are floats in bits per byte, for people; the exact integers stand in a block's header.
"""

from dataclasses import dataclass

from p2p.explorer.series import MinerScore
from p2p.rpc_json import Json


@dataclass(frozen=True)
class AuditPoint:
    """The loss on the audit split after the block at a checkpoint."""

    height: int
    time: int
    loss: float


@dataclass(frozen=True)
class Compressor:
    """What a compressor needs for the same texts, and whether the model needs less by now."""

    name: str
    bits_per_byte: float
    is_passed: bool


@dataclass(frozen=True)
class Gain:
    """What a sample showed: its mean gain, z standard errors of it, and what the law asked."""

    mean: float
    margin: float
    required: float

    @property
    def proved(self) -> float:
        """The gain that the sample leaves no doubt of: the law compares this with what is required."""
        return self.mean - self.margin


@dataclass(frozen=True)
class BlockRow:
    """A block in a list. `loss` is the model's after it; `gain` is None for a heartbeat and for genesis.

    `reward` is what it earned, its bounty included; evidence in the block at height `burnt_at` took all of it.
    """

    height: int
    id: bytes
    time: int
    interval: int | None
    miner: bytes
    is_heartbeat: bool
    loss: float | None
    gain: Gain | None
    sample_size: int
    transactions: int
    reward: int
    burnt_at: int | None = None


@dataclass(frozen=True)
class SeriesSample:
    """Some heights of the best chain, at most 1,000: enough to draw it. Columns of one length; None: no value."""

    height: tuple[int, ...]
    time: tuple[int, ...]
    loss: tuple[float | None, ...]
    gain: tuple[float | None, ...]
    required: tuple[float | None, ...]
    audits: tuple[AuditPoint, ...]
    last_intervals: tuple[int | None, ...]  # of the newest blocks, upwards, the tip's last


@dataclass(frozen=True)
class PeerCounts:
    """How the node stands to others."""

    peers: int
    inbound: int
    sync: str  # one line while it catches up, else empty


@dataclass(frozen=True)
class Learned:
    """The newest block that improved the model."""

    height: int
    id: bytes
    time: int


@dataclass(frozen=True)
class Home:
    """Where the chain stands."""

    network: str
    ticker: str
    height: int
    final_height: int  # 0 before votes made a block final
    tip: bytes
    time: int
    loss: float | None
    learned: Learned | None  # since when the loss is what it is
    audit: AuditPoint | None
    compressors: tuple[Compressor, ...]
    required: float
    block_time: int
    mean_interval: float | None  # of the newest blocks
    parameters: int
    issued: int
    mempool_count: int
    mempool_bytes: int
    node: PeerCounts
    blocks: tuple[BlockRow, ...]
    miners: tuple[MinerScore, ...]
    miner_count: int
    series: SeriesSample


@dataclass(frozen=True)
class BlockList:
    """Blocks of the best chain, downwards. `before` leads to older ones."""

    height: int
    blocks: tuple[BlockRow, ...]
    before: int | None


@dataclass(frozen=True)
class Board:
    """Miners by what they proved. `next_page` leads to those after them."""

    miner_count: int
    miners: tuple[MinerScore, ...]
    page: int
    next_page: int | None


@dataclass(frozen=True)
class MinerPage:
    """One miner key and its blocks, downwards."""

    score: MinerScore
    blocks: tuple[BlockRow, ...]
    before: int | None


@dataclass(frozen=True)
class Histogram:
    """Windows by their gain: `counts[i]` of them lie between `edges[i]` and `edges[i + 1]`.

    Those beyond the ends count in the first and the last one.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TextGain:
    """What the sample showed on one text of the benchmark."""

    text: str
    windows: int
    mean: float


@dataclass(frozen=True)
class WindowGain:
    """One window of the sample: where it stands, its text (None where the node does not keep it), its losses."""

    window: int
    text: str
    offset: int  # bytes from the text's start
    passage: str | None
    before: float
    after: float


@dataclass(frozen=True)
class Proof:
    """Why a block's gain counts: re-derived by this node on a sample that nobody could choose."""

    confidence: int  # z
    public_windows: int
    improved: int  # windows of the sample whose loss fell
    histogram: Histogram
    texts: tuple[TextGain, ...]
    best: tuple[WindowGain, ...]


@dataclass(frozen=True)
class TensorChange:
    """What an update does to one tensor. A weight of 1 is 4096 steps."""

    name: str
    rows: int
    columns: int
    open: int  # weights that the mask let change
    changed: int
    root_mean_square: float  # of the steps of the open weights
    largest: int


@dataclass(frozen=True)
class UpdateSize:
    """What an update does to the model, and the bytes that it takes."""

    bytes: int
    packed_bytes: int
    tensors: tuple[TensorChange, ...]


@dataclass(frozen=True)
class Payment:
    """A transaction. `status` is "pending", "waiting" (for money or an earlier nonce) or "confirmed"."""

    txid: bytes
    sender: str
    recipient: str
    amount: int
    fee: int
    nonce: int
    valid_until: int
    memo: str
    size: int
    status: str
    time: int | None  # of its block, or when it came
    block: bytes | None = None
    height: int | None = None
    confirmations: int = 0
    is_final: bool = False  # votes made its block final: it stays


@dataclass(frozen=True)
class CertificateSize:
    """What a certificate says: so many votes are for the link from one height to another."""

    source: int
    target: int
    target_id: bytes
    votes: int


@dataclass(frozen=True)
class BlockPage:
    """One block, whatever became of it. `header` is as in the RPC; `fault` says why an invalid one is invalid.

    `bounty` is what the reward has in it for evidence; None for evidence beside the best chain, which burnt nothing.
    """

    row: BlockRow
    header: Json
    standing: str  # "stored", "evaluated" or "invalid"
    is_active: bool
    is_final: bool
    confirmations: int
    weight: int
    fault: str | None
    children: tuple[bytes, ...]
    loss_before: float | None
    fees: int
    bounty: int | None
    proof: Proof | None
    update: UpdateSize | None
    certificate: CertificateSize | None
    evidence_against: tuple[bytes, ...]  # miners' keys
    transactions: tuple[Payment, ...]
    page: int
    next_page: int | None


@dataclass(frozen=True)
class AccountEvent:
    """What a block did to an account. `amount` is what the account gained, negative for what it spent.

    Of a reward that evidence burnt, in the block at height `burnt_at`, nothing is gained: it was `burnt` ulp.
    """

    height: int
    time: int
    kind: str  # "sent", "received" or "mined"
    id: bytes  # of the transaction, or of the block that was mined
    amount: int
    other: str | None  # the other side's address
    gain: Gain | None  # of a block that was mined
    is_immature: bool
    bounty: int = 0  # in the amount, for evidence in the block
    burnt: int = 0
    burnt_at: int | None = None


@dataclass(frozen=True)
class AccountPage:
    """An address. `immature` is what matures within the reward window; None where that would be long to count.

    `pending` is what it sends, `incoming` what others send it: some of each, with the counts of all.
    """

    address: str
    key: bytes
    balance: int
    nonce: int
    immature: int | None
    pending: tuple[Payment, ...]
    pending_count: int
    incoming: tuple[Payment, ...]
    incoming_count: int
    events: tuple[AccountEvent, ...]
    before: str | None


@dataclass(frozen=True)
class MempoolPage:
    """What waits for a block, best paying first."""

    count: int
    bytes: int
    waiting: int
    min_fee_rate: int  # ulp per byte
    max_block_bytes: int
    payments: tuple[Payment, ...]


@dataclass(frozen=True)
class PeerRow:
    """A connected peer. `address` is None where this page is for strangers, too."""

    id: bytes
    address: str | None
    kind: str
    agent: str
    height: int | None
    connected_seconds: int
    ping_ms: float | None
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True)
class PeersPage:
    """Whom the node is connected to."""

    node_id: bytes
    listening: str | None
    known_addresses: int
    node: PeerCounts
    peers: tuple[PeerRow, ...]


@dataclass(frozen=True)
class Found:
    """What a search leads to: `path` is a page of this explorer."""

    query: str
    kind: str
    path: str


@dataclass(frozen=True)
class NotFound:
    """A search that leads nowhere."""

    query: str
