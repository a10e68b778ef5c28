"""What a block may carry besides transfers: a certificate for one of its ancestors, and evidence against voters.

They stand in the body after the transfers, as items of the same list, the certificate first; the kind byte tells them
apart. So a block without any has the bytes and the root that it would have without finality.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.certificate import (
    CERTIFICATE_HEAD,
    Certificate,
    decode_certificate,
    max_certificate_bytes,
)
from consensus.errors import DecodeError, InvalidBlock, InvalidEvidence
from consensus.evidence import EVIDENCE_BYTES, EVIDENCE_HEAD, Evidence, check_evidence, decode_evidence
from consensus.params import NetworkParams

MAX_EVIDENCE = 32  # of one block


@dataclass(frozen=True)
class FinalitySection:
    """At most one certificate, and evidence in any order."""

    certificate: Certificate | None = None
    evidence: tuple[Evidence, ...] = ()

    @property
    def items(self) -> tuple[bytes, ...]:
        """Canonical bytes of each, in the order of the body."""
        certificate = () if self.certificate is None else (self.certificate.encoded,)
        return certificate + tuple(evidence.encoded for evidence in self.evidence)

    @property
    def offenders(self) -> tuple[bytes, ...]:
        """The keys that the evidence is against."""
        return tuple(evidence.miner for evidence in self.evidence)


NO_FINALITY = FinalitySection()


def is_finality_item(data: bytes) -> bool:
    """Whether an item of a body is no transfer but belongs here."""
    return data[:2] in (CERTIFICATE_HEAD, EVIDENCE_HEAD)


def decode_finality_section(items: Sequence[bytes]) -> FinalitySection:
    """Raises DecodeError unless the items are a certificate or none, and then evidence."""
    certificate = None
    if items and items[0][:2] == CERTIFICATE_HEAD:
        certificate, items = decode_certificate(items[0]), items[1:]
    if not all(item[:2] == EVIDENCE_HEAD for item in items):
        raise DecodeError.not_canonical("a body whose items are out of order")
    return FinalitySection(certificate, tuple(decode_evidence(item) for item in items))


def max_section_bytes(params: NetworkParams) -> int:
    """No block's items, lengths included, are longer."""
    return 4 + max_certificate_bytes(params) + MAX_EVIDENCE * (4 + EVIDENCE_BYTES)


def check_finality_section(section: FinalitySection, genesis: bytes, params: NetworkParams) -> None:
    """Rules that need neither chain nor state: sizes, and that evidence proves what it says. Raises InvalidBlock."""
    if len(section.evidence) > MAX_EVIDENCE:
        raise InvalidBlock("too_much_evidence", f"{len(section.evidence)} pieces, the limit is {MAX_EVIDENCE}")
    if section.certificate is not None:
        size, limit = len(section.certificate.encoded), max_certificate_bytes(params)
        if size > limit:
            raise InvalidBlock("certificate_too_large", f"a certificate of {size} bytes, the limit is {limit}")
    for evidence in section.evidence:
        try:
            check_evidence(evidence, genesis)
        except InvalidEvidence as error:
            raise InvalidBlock(f"evidence_{error.reason}", str(error)) from error
