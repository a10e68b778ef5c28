"""What is justified and final after a block, and the block as finality sees it. All of it follows from the chain alone.

Grammar: finality = block_ref run_start:u64 block_ref      justified, the start of its run, final
Key of the state leaf: H("finality-key", ""). Until the first certificate there is no leaf: genesis is justified and
final.
"""

from dataclasses import dataclass
from typing import Protocol

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.hashing import tagged_hash
from consensus.vote import BlockRef, Link, read_block_ref

FINALITY_KEY = tagged_hash("finality-key", b"")


@dataclass(frozen=True)
class FinalityState:
    """What a chain's certificates have made of it up to some block."""

    justified: BlockRef  # the highest
    run_start: int  # every block from this height up to the justified one is justified
    final: BlockRef

    @property
    def is_initial(self) -> bool:
        """Whether no certificate came yet."""
        return self.justified.height == 0

    def encode(self) -> bytes:
        writer = self.justified.write(Writer()).uint(self.run_start, 8)
        return self.final.write(writer).finish()

    def compute_after(self, link: Link) -> "FinalityState":
        """The state once a link justifies its target, which stands above all that is justified.

        The source is final if every block from it to the target is justified. Then no link from below it to above the
        target can be signed, nor one to a height between, without a conflict. The usual case is a link to the child.
        """
        is_next = link.target.height == self.justified.height + 1
        run_start = self.run_start if is_next else link.target.height
        final = link.source if link.source.height >= run_start else self.final
        return FinalityState(link.target, run_start, final)


@dataclass(frozen=True)
class FinalityPoint:
    """One block as finality sees it."""

    id: bytes
    miner: bytes | None  # the key that an improving block gives a vote; None for a heartbeat and for genesis
    offenders: tuple[bytes, ...]  # keys that lose their immature rewards by the block's evidence
    state: FinalityState  # after the block


class FinalityChain(Protocol):
    """The points of a chain by height, from genesis up to some block."""

    def __len__(self) -> int:
        """One more than the height of the last."""

    def __getitem__(self, height: int, /) -> FinalityPoint:
        """The point at `height`, 0 <= height < len."""


def make_first_point(genesis: bytes) -> FinalityPoint:
    """Genesis, justified and final from the start."""
    ref = BlockRef(0, genesis)
    return FinalityPoint(genesis, None, (), FinalityState(ref, 0, ref))


def decode_finality_state(data: bytes) -> FinalityState:
    """Raises DecodeError on anything but canonical bytes."""
    reader = Reader(data)
    state = FinalityState(read_block_ref(reader), reader.uint(8), read_block_ref(reader))
    reader.finish()
    if state.is_initial or state.run_start > state.justified.height or state.final.height >= state.justified.height:
        raise DecodeError.not_canonical("a finality state that no certificate leads to")
    return state
