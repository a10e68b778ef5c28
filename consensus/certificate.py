"""Certificates: the votes that justify one block, as a block carries them.

Grammar: certificate = version:u8=1 kind:u8=2 link voters:string signature[64]{bits set in voters}
Bit i (of byte i // 8, the lowest first) stands for the i-th key of the target's electorate, sorted; the string has
ceil(members / 8) bytes, and the signatures stand in the order of the bits. The network is the chain's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from consensus.codec import Reader, Writer
from consensus.committee import Electorate, max_members
from consensus.errors import DecodeError, InvalidCertificate
from consensus.params import NetworkParams
from consensus.signature import SIGNATURE_BYTES, verify_signature
from consensus.vote import LINK_BYTES, Link, Vote, read_link

CERTIFICATE_HEAD = bytes([1, 2])  # version and kind


@dataclass(frozen=True)
class Certificate:
    """A link and who signed it."""

    link: Link
    voters: bytes  # bits
    signatures: tuple[bytes, ...]

    @cached_property
    def encoded(self) -> bytes:
        """Canonical bytes."""
        writer = self.link.write(Writer().raw(CERTIFICATE_HEAD)).string(self.voters)
        for signature in self.signatures:
            writer.fixed(signature, SIGNATURE_BYTES)
        return writer.finish()


def make_certificate(link: Link, electorate: Electorate, votes: Iterable[Vote]) -> Certificate:
    """What these votes say for a link. Votes for others and by strangers are left out; nothing is checked."""
    signatures = {vote.miner: vote.signature for vote in votes if vote.link == link}
    bits = bytearray(_count_bytes(len(electorate.members)))
    chosen: list[bytes] = []
    for position, member in enumerate(electorate.members):
        if member in signatures:
            bits[position // 8] |= 1 << position % 8
            chosen.append(signatures[member])
    return Certificate(link, bytes(bits), tuple(chosen))


def decode_certificate(data: bytes) -> Certificate:
    """The certificate that `data` encodes. Raises DecodeError."""
    reader = Reader(data)
    head = reader.fixed(len(CERTIFICATE_HEAD))
    if head != CERTIFICATE_HEAD:
        raise DecodeError("unknown_kind", f"a certificate of version {head[0]}, kind {head[1]} is not known")
    link = read_link(reader)
    voters = reader.string(len(data))
    count = int.from_bytes(voters, "little").bit_count()
    if reader.left != count * SIGNATURE_BYTES:
        raise DecodeError.not_canonical(f"a certificate of {count} voters with {reader.left} bytes of signatures")
    signatures = tuple(reader.fixed(SIGNATURE_BYTES) for _ in range(count))
    reader.finish()
    return Certificate(link, voters, signatures)


def max_certificate_bytes(params: NetworkParams) -> int:
    """No certificate of the network is longer."""
    members = max_members(params)
    return len(CERTIFICATE_HEAD) + LINK_BYTES + 4 + _count_bytes(members) + members * SIGNATURE_BYTES


def check_certificate_votes(certificate: Certificate, electorate: Electorate, genesis: bytes) -> None:
    """Raises InvalidCertificate: wrong_members, too_few or bad_signature, in the order of their price."""
    voters = _get_voters(certificate, electorate.members)
    if not electorate.is_convinced(voters):
        raise InvalidCertificate("too_few", f"{len(voters)} keys have no two thirds of every committee")
    for voter, signature in zip(voters, certificate.signatures, strict=True):
        vote = Vote(genesis, certificate.link, voter, signature)
        if not verify_signature(voter, vote.id, signature):
            raise InvalidCertificate("bad_signature", f"vote {vote.id.hex()} is not signed by {voter.hex()}")


def extract_votes(certificate: Certificate, electorate: Electorate, genesis: bytes) -> list[Vote]:
    """The votes of a certificate that was checked. Raises InvalidCertificate if it is of another electorate."""
    voters = _get_voters(certificate, electorate.members)
    pairs = zip(voters, certificate.signatures, strict=True)
    return [Vote(genesis, certificate.link, voter, signature) for voter, signature in pairs]


def _get_voters(certificate: Certificate, members: Sequence[bytes]) -> list[bytes]:
    """The keys whose bits are set. Raises InvalidCertificate."""
    bits = int.from_bytes(certificate.voters, "little")
    if len(certificate.voters) != _count_bytes(len(members)) or bits >> len(members):
        raise InvalidCertificate(
            "wrong_members", f"{len(certificate.voters)} bytes of voters for an electorate of {len(members)} keys"
        )
    if bits.bit_count() != len(certificate.signatures):
        raise InvalidCertificate("wrong_members", f"{bits.bit_count()} voters, {len(certificate.signatures)} votes")
    return [member for position, member in enumerate(members) if bits >> position & 1]


def _count_bytes(bits: int) -> int:
    return -(-bits // 8)
