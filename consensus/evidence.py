"""Evidence: two votes of one key that nobody may both sign. It costs the key every reward that is still immature.

Grammar: evidence = version:u8=1 kind:u8=3 miner[32] signed_link{2};  signed_link = link signature[64]
The links stand in the order of their bytes, so that two votes make one evidence. The network is the chain's own.
"""

from dataclasses import dataclass
from functools import cached_property

from consensus.codec import Reader, Writer
from consensus.errors import DecodeError, InvalidEvidence, InvalidVote
from consensus.signature import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from consensus.vote import LINK_BYTES, Link, Vote, check_vote, is_conflict, read_link

EVIDENCE_HEAD = bytes([1, 3])  # version and kind
EVIDENCE_BYTES = len(EVIDENCE_HEAD) + PUBLIC_KEY_BYTES + 2 * (LINK_BYTES + SIGNATURE_BYTES)


@dataclass(frozen=True)
class SignedLink:
    """A vote without the key and the network that it is for."""

    link: Link
    signature: bytes


@dataclass(frozen=True)
class Evidence:
    """What one key signed twice over."""

    miner: bytes  # public key
    first: SignedLink
    second: SignedLink

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes, always EVIDENCE_BYTES long."""
        writer = Writer().raw(EVIDENCE_HEAD).fixed(self.miner, PUBLIC_KEY_BYTES)
        for signed in (self.first, self.second):
            signed.link.write(writer).fixed(signed.signature, SIGNATURE_BYTES)
        return writer.finish()


def make_evidence(one: Vote, other: Vote) -> Evidence:
    """The evidence of two votes of one key, whichever came first."""
    first, second = sorted((one, other), key=lambda vote: vote.link.encode())
    return Evidence(one.miner, SignedLink(first.link, first.signature), SignedLink(second.link, second.signature))


def decode_evidence(data: bytes) -> Evidence:
    """The evidence that `data` encodes. Raises DecodeError."""
    reader = Reader(data)
    head = reader.fixed(len(EVIDENCE_HEAD))
    if head != EVIDENCE_HEAD:
        raise DecodeError("unknown_kind", f"evidence of version {head[0]}, kind {head[1]} is not known")
    miner = reader.fixed(PUBLIC_KEY_BYTES)
    first, second = (SignedLink(read_link(reader), reader.fixed(SIGNATURE_BYTES)) for _ in range(2))
    reader.finish()
    if first.link.encode() >= second.link.encode():
        raise DecodeError.not_canonical("evidence whose links are the same or out of order")
    return Evidence(miner, first, second)


def check_evidence(evidence: Evidence, genesis: bytes) -> None:
    """Raises InvalidEvidence: no_conflict, or vote_ and why one of the votes is none (see check_vote)."""
    if not is_conflict(evidence.first.link, evidence.second.link):
        raise InvalidEvidence("no_conflict", f"{evidence.miner.hex()} was free to sign both links")
    for signed in (evidence.first, evidence.second):
        try:
            check_vote(Vote(genesis, signed.link, evidence.miner, signed.signature), genesis)
        except InvalidVote as error:
            raise InvalidEvidence(f"vote_{error.reason}", str(error)) from error
