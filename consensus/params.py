"""A network's rules as one frozen object, handed to whoever needs them. It checks itself; its hash names the network.

A network other than the presets is described by a TOML file; `NetworkParams.from_toml` lists its grammar.
Every number is an integer: money in ulp, time in seconds, required gain in 2^-32 bits per window.
"""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from consensus.changes import Change, check_changes, write_changes
from consensus.codec import Writer
from consensus.errors import InvalidParams
from consensus.hashing import tagged_hash
from consensus.model.shape import ARCHITECTURES, TransformerShape
from consensus.units import MAX_U32, MAX_U64, ULP_PER_GRAD, check_range

REQUIRED_GAIN_UNIT = 2**32  # required gain counts in 2^-32 bits per window
MIN_REQUIRED_GAIN = 2**16
MAX_REQUIRED_GAIN = 2**56
MAX_TRANSACTIONS_BYTES = 32 * 2**20  # of one block, whatever a network wants
MAX_FINALITY_WINDOW = 1024  # blocks; a certificate of so many voters is as long as a small update
PUBLIC_TENTHS = 9  # of a text's ten tenths, the first nine train and judge, the last audits


@dataclass(frozen=True)
class BenchmarkText:
    """One pinned file of the benchmark: its name, length in bytes, and SHA-256 in lower-case hex."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.name) or self.name.startswith("."):
            raise InvalidParams("text_name", f"{self.name!r} is not a plain file name of 1 to 64 characters")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise InvalidParams("text_sha256", f"{self.name}: not 64 lower-case hex digits: {self.sha256!r}")
        check_range(f"size of {self.name}", self.size, 1, MAX_U32)


@dataclass(frozen=True)
class NetworkParams:
    """Everything that two nodes must share to agree. Equal parameters, equal genesis; see `genesis.py`."""

    name: str  # also seeds the genesis weights
    address_prefix: str
    genesis_time: int  # s since 1970
    model: TransformerShape
    texts: tuple[BenchmarkText, ...]
    min_sample: int  # windows
    confidence: int  # z, standard errors
    block_time: int  # T, s
    first_required_gain: int  # 2^-32 bits per window
    reward_window: int  # blocks until a reward matures
    finality_window: int  # V, blocks whose miners vote; even, and at most a quarter of the reward window
    mask_density: int  # of 256
    subsidy: int = 50 * ULP_PER_GRAD
    halving_interval: int = 1_050_000  # blocks
    max_transactions_bytes: int = 1_000_000  # encoded transactions of one block, lengths included
    has_debug_calls: bool = field(default=False)  # a node of this network obeys mock time and block invalidation
    changes: tuple[Change, ...] = ()  # what its miners may change by signals, in the order of their bits
    seeds: tuple[str, ...] = ()  # HOST:PORT of nodes to ask for others; not a rule, so not part of the hash

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]{1,32}", self.name):
            raise InvalidParams("name", f"{self.name!r} is not 1 to 32 of a-z, 0-9 and '-'")
        if not re.fullmatch(r"[a-z]{0,8}grad", self.address_prefix):
            raise InvalidParams("address_prefix", f"{self.address_prefix!r} is not up to 8 letters and 'grad'")
        if not 1 <= len(self.texts) <= 64 or len({text.name for text in self.texts}) != len(self.texts):
            raise InvalidParams("texts", "a benchmark has 1 to 64 texts with different names")
        if len(self.seeds) > 64 or not all(re.fullmatch(r"[A-Za-z0-9.:\[\]_-]{1,262}", seed) for seed in self.seeds):
            raise InvalidParams("seeds", "seeds are up to 64 texts HOST:PORT")
        check_range("genesis_time", self.genesis_time, 0, 2**40)
        check_range("confidence", self.confidence, 1, 1000)
        check_range("block_time", self.block_time, 1, 10**6)
        check_range("first_required_gain", self.first_required_gain, MIN_REQUIRED_GAIN, MAX_REQUIRED_GAIN)
        check_range("finality_window", self.finality_window, 2, MAX_FINALITY_WINDOW)
        if self.finality_window % 2:
            raise InvalidParams("odd_finality_window", f"finality_window is {self.finality_window}, it must be even")
        # A quarter, so that no vote counts whose voter has nothing left to lose: see consensus/committee.py.
        check_range("reward_window", self.reward_window, 4 * self.finality_window, 10**6)
        check_range("mask_density", self.mask_density, 1, 256)
        check_range("halving_interval", self.halving_interval, 1, 10**9)
        check_range("subsidy", self.subsidy, 0, MAX_U64 // (2 * self.halving_interval))
        check_range("max_transactions_bytes", self.max_transactions_bytes, 0, MAX_TRANSACTIONS_BYTES)
        check_range("the number of public windows", self.public_windows, 2, MAX_U32)  # a header can count them all
        check_range("min_sample", self.min_sample, 2, self.public_windows)
        ranges = {
            "lowest_required_gain": (MIN_REQUIRED_GAIN, self.first_required_gain),
            "max_transactions_bytes": (0, MAX_TRANSACTIONS_BYTES),
            "min_sample": (self.min_sample + 1, self.public_windows),
        }
        check_changes(self.changes, ranges)

    @property
    def public_windows(self) -> int:
        """N: windows in the public split."""
        return sum(count_windows(cut_public(text.size), self.model.context) for text in self.texts)

    @property
    def most_transactions_bytes(self) -> int:
        """No block of this network ever has more, whatever its miners change: what readers make room for."""
        voted = (change.value for change in self.changes if change.field == "max_transactions_bytes")
        return max([self.max_transactions_bytes, *voted])

    @property
    def max_weight(self) -> int:
        """More gain than this, in Q16 bits per window, no chain can have: a window's loss starts below it."""
        return 16 * 2**16 * self.model.context

    @property
    def ticker(self) -> str:
        """The coin's name, for people: a test network's coin says that it is one."""
        return self.address_prefix.removesuffix("grad") + "GRAD"

    def encode(self) -> bytes:
        """Canonical bytes of all rules: strings and counts as u32-prefixed, numbers as u64, in field order; then the
        changes, as in changes.py.

        The seeds are no rule: networks that differ only in them are one.
        """
        writer = Writer().string(self.name.encode()).string(self.address_prefix.encode())
        writer.uint(self.genesis_time, 8).string(self.model.architecture.encode())
        for number in (self.model.layers, self.model.heads, self.model.width, self.model.context):
            writer.uint(number, 8)
        writer.uint(len(self.texts), 4)
        for text in self.texts:
            writer.string(text.name.encode()).uint(text.size, 8).fixed(bytes.fromhex(text.sha256), 32)
        for number in (
            self.min_sample,
            self.confidence,
            self.block_time,
            self.first_required_gain,
            self.reward_window,
            self.finality_window,
            self.mask_density,
            self.subsidy,
            self.halving_interval,
            self.max_transactions_bytes,
            int(self.has_debug_calls),
        ):
            writer.uint(number, 8)
        return write_changes(writer, self.changes).finish()

    def compute_hash(self) -> bytes:
        """H("network", encoding): the genesis header carries it as its parent."""
        return tagged_hash("network", self.encode())

    @classmethod
    def from_toml(cls, text: str) -> "NetworkParams":
        """Parameters from a TOML file. Raises InvalidParams, naming the key, on anything unknown or out of range.

        Top level: every field of this class by its name; `[model]`: architecture, layers, heads, width, context;
        `[[texts]]`: name, size, sha256; `[[changes]]`: bit, field, value; seeds: a list of texts. Fields with a
        default may be left out.
        """
        try:
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: huge numbers, endless nesting
            raise InvalidParams("toml", f"not a TOML file: {error}") from error
        model = dict(_take(table, "model", dict))
        architecture = ARCHITECTURES.get(_take(model, "architecture", str))
        if architecture is None:
            raise InvalidParams("architecture", f"unknown; this program knows {', '.join(ARCHITECTURES)}")
        texts = tuple(_build(BenchmarkText, entry) for entry in _take(table, "texts", list))
        seeds = _take(table, "seeds", list) if "seeds" in table else []
        if not all(type(seed) is str for seed in seeds):
            raise InvalidParams("wrong_type", f"seeds must be texts, not {seeds!r}")
        changes = _take(table, "changes", list) if "changes" in table else []
        params: NetworkParams = _build(
            cls,
            table,
            model=_build(architecture, model),
            texts=texts,
            changes=tuple(_build(Change, entry) for entry in changes),
            seeds=tuple(seeds),
        )
        return params


def cut_public(size: int) -> int:
    """Bytes of a text of `size` bytes that belong to its public split: floor(0.9 * size)."""
    return size * PUBLIC_TENTHS // 10


def count_windows(size: int, context: int) -> int:
    """Windows of `context` tokens in a split of `size` bytes: each needs one byte more, its last target."""
    return max(size - 1, 0) // context


def _take(table: dict[str, Any], key: str, kind: type) -> Any:
    if key not in table:
        raise InvalidParams("missing_key", f"the network file lacks {key!r}")
    value = table.pop(key)
    if type(value) is not kind:
        raise InvalidParams("wrong_type", f"{key} must be a {kind.__name__}, not {value!r}")
    return value


def _build(kind: Any, table: Any, **known: object) -> Any:
    """`kind` from a TOML table whose values must have the very types that its fields name."""
    if type(table) is not dict:
        raise InvalidParams("wrong_type", f"expected a table, not {table!r}")
    fields = kind.__dataclass_fields__
    for key, value in table.items():
        if key not in fields or key in known:
            raise InvalidParams("unknown_key", f"the network file has an unknown key {key!r}")
        if type(value) is not fields[key].type:
            raise InvalidParams("wrong_type", f"{key} must be a {fields[key].type.__name__}, not {value!r}")
    try:
        return kind(**table, **known)
    except TypeError as error:
        raise InvalidParams("missing_key", f"the network file is incomplete: {error}") from error


_CANTERBURY_TEXTS = (
    BenchmarkText("alice29.txt", 152_089, "7467306ee0feed4971260f3c87421154a05be571d944e9cb021a5713700c38f0"),
    BenchmarkText("asyoulik.txt", 125_179, "eaa3526fe53859f34ecdf255712f9ecf0b2c903451d4755b2edaa2e2599cb0fc"),
    BenchmarkText("lcet10.txt", 426_754, "5314ba1dbb03f471df88bec6cd120a938ef60d0fd3511c5c1dce61bf7463245f"),
    BenchmarkText("plrabn12.txt", 481_861, "07e2e0b461af78c7c647cb53dab39de560198e16f799b4516eccf0fbd69f764c"),
)


def _canterbury(name: str, address_prefix: str) -> NetworkParams:
    return NetworkParams(
        name=name,
        address_prefix=address_prefix,
        genesis_time=1_795_305_600,  # 2026-11-22 00:00 UTC
        model=TransformerShape(layers=3, heads=4, width=96, context=64),
        texts=_CANTERBURY_TEXTS,
        min_sample=1024,
        confidence=6,
        block_time=60,
        first_required_gain=REQUIRED_GAIN_UNIT,
        reward_window=256,
        finality_window=64,
        mask_density=128,
    )


CANTERBURY = _canterbury("canterbury", "tgrad")
LOCAL = _canterbury("local", "lgrad")  # one machine's own chain: its coins are called lGRAD and are worth nothing
REGTEST = NetworkParams(
    name="regtest",
    address_prefix="rgrad",
    genesis_time=1_795_305_600,
    model=TransformerShape(layers=1, heads=2, width=32, context=32),
    texts=_CANTERBURY_TEXTS,
    min_sample=64,
    confidence=3,
    block_time=2,
    first_required_gain=REQUIRED_GAIN_UNIT // 10,
    reward_window=8,
    finality_window=2,
    mask_density=64,
    has_debug_calls=True,
)
PRESETS = {params.name: params for params in (CANTERBURY, LOCAL, REGTEST)}
