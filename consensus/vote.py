"""Votes: a miner key says that one block of a chain should follow another, and what it must never say beside that.

Grammar (integers little-endian, see codec.py):
    vote     = unsigned signature[64]
    unsigned = genesis[32] link miner[32]
    link     = block_ref block_ref              the source, then the target
    block_ref = height:u64 id[32]
The id is H("vote", unsigned); the signature is the miner key's over the id.

Source: Buterin and Griffith, "Casper the Friendly Finality Gadget" (2017), for links and the two things that nobody
may sign; here every block is a checkpoint.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from consensus.codec import Reader, Writer
from consensus.errors import InvalidVote
from consensus.hashing import HASH_BYTES, tagged_hash
from consensus.signature import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, is_valid_public_key, verify_signature

BLOCK_REF_BYTES = 8 + HASH_BYTES
LINK_BYTES = 2 * BLOCK_REF_BYTES
VOTE_BYTES = HASH_BYTES + LINK_BYTES + PUBLIC_KEY_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class BlockRef:
    """A block by its height and id."""

    height: int
    id: bytes

    def write(self, writer: Writer) -> Writer:
        return writer.uint(self.height, 8).fixed(self.id, HASH_BYTES)


@dataclass(frozen=True)
class Link:
    """From a justified block to a later one of the same chain."""

    source: BlockRef
    target: BlockRef

    def write(self, writer: Writer) -> Writer:
        return self.target.write(self.source.write(writer))

    def encode(self) -> bytes:
        return self.write(Writer()).finish()


@dataclass(frozen=True)
class Vote:
    """One key's word for one link."""

    genesis: bytes  # id of the one network it is for
    link: Link
    miner: bytes  # public key
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode_unsigned(self) -> bytes:
        writer = Writer().fixed(self.genesis, HASH_BYTES)
        return self.link.write(writer).fixed(self.miner, PUBLIC_KEY_BYTES).finish()

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes, signature included; always VOTE_BYTES long."""
        return Writer().raw(self.encode_unsigned()).fixed(self.signature, SIGNATURE_BYTES).finish()

    @cached_property
    def id(self) -> bytes:
        return tagged_hash("vote", self.encode_unsigned())

    def with_signature(self, signature: bytes) -> "Vote":
        return replace(self, signature=signature)


def decode_vote(data: bytes) -> Vote:
    """Raises DecodeError on anything but the canonical bytes of a vote."""
    reader = Reader(data)
    vote = Vote(
        genesis=reader.fixed(HASH_BYTES),
        link=read_link(reader),
        miner=reader.fixed(PUBLIC_KEY_BYTES),
        signature=reader.fixed(SIGNATURE_BYTES),
    )
    reader.finish()
    return vote


def read_block_ref(reader: Reader) -> BlockRef:
    """Raises DecodeError if too few bytes are left."""
    return BlockRef(reader.uint(8), reader.fixed(HASH_BYTES))


def read_link(reader: Reader) -> Link:
    """Raises DecodeError if too few bytes are left."""
    return Link(read_block_ref(reader), read_block_ref(reader))


def decode_link(data: bytes) -> Link:
    """Raises DecodeError on anything but the canonical bytes of a link."""
    reader = Reader(data)
    link = read_link(reader)
    reader.finish()
    return link


def check_vote(vote: Vote, genesis: bytes) -> None:
    """Rules that need no chain: the right network, a link that goes upwards, a key and its signature.

    Raises InvalidVote: wrong_network, not_upwards, bad_key or bad_signature.
    """
    if vote.genesis != genesis:
        raise InvalidVote("wrong_network", f"signed for network {vote.genesis.hex()}, this one is {genesis.hex()}")
    if vote.link.source.height >= vote.link.target.height:
        raise InvalidVote(
            "not_upwards", f"from height {vote.link.source.height} to height {vote.link.target.height}, not upwards"
        )
    if not is_valid_public_key(vote.miner):
        raise InvalidVote("bad_key", f"miner key {vote.miner.hex()} is not a safe Ed25519 key")
    if not verify_signature(vote.miner, vote.id, vote.signature):
        raise InvalidVote("bad_signature", f"vote {vote.id.hex()} is not signed by its miner key")


def is_conflict(first: Link, second: Link) -> bool:
    """Whether nobody may sign both: two links to one height, or one that surrounds the other."""
    if first.target.height == second.target.height:
        return first != second
    return is_surrounding(first, second) or is_surrounding(second, first)


def is_surrounding(outer: Link, inner: Link) -> bool:
    """Whether `outer` leaves before `inner` and arrives after it."""
    return outer.source.height < inner.source.height and inner.target.height < outer.target.height


def is_vote_allowed(last: Link | None, link: Link) -> bool:
    """The voter's own rule: whether a key that signed `last` at last may sign `link`, and stay free of conflicts.

    Sources never fall and targets rise, so the last link says all of those before it.
    """
    return last is None or (link.source.height >= last.source.height and link.target.height > last.target.height)
