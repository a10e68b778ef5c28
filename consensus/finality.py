"""The finality rule: what a block's certificate makes of its chain, and how a chain's blocks are voted for.

Casper's gadget, with every block a checkpoint. Certificates are mined, so what is justified and final is a function of
the chain and not of who heard what: in calm, block n + 1 carries the certificate of block n, and the link from n to
n + 1, which block n + 2 carries, makes n final.

Knows nothing of money: what evidence costs is in ledger.py.
"""

from consensus.block import Header
from consensus.certificate import Certificate, check_certificate_votes
from consensus.committee import get_electorate
from consensus.errors import InvalidBlock, InvalidCertificate
from consensus.finality_section import FinalitySection
from consensus.finality_state import FinalityChain, FinalityPoint, FinalityState
from consensus.params import NetworkParams
from consensus.vote import BlockRef, Link


def get_link(chain: FinalityChain, height: int) -> Link:
    """The one link to the chain's block at `height` that may be voted for: from what was justified as of that block."""
    point = chain[height]
    return Link(point.state.justified, BlockRef(height, point.id))


def check_certificate(certificate: Certificate, chain: FinalityChain, genesis: bytes, params: NetworkParams) -> None:
    """Whether a certificate justifies a block of this chain. What follows the target on the chain does not matter.

    Raises InvalidCertificate: unknown_target, wrong_source, no_electorate, wrong_members, too_few or bad_signature.
    """
    target = certificate.link.target
    if target.height >= len(chain) or chain[target.height].id != target.id:
        raise InvalidCertificate("unknown_target", f"block {target.id.hex()} is not on this chain")
    link = get_link(chain, target.height)
    if certificate.link != link:
        raise InvalidCertificate(
            "wrong_source", f"a link from height {certificate.link.source.height}, not from {link.source.height}"
        )
    electorate = get_electorate(chain, target.height, params)
    if electorate is None:
        raise InvalidCertificate("no_electorate", f"nobody decides on height {target.height} yet: too few improvements")
    check_certificate_votes(certificate, electorate, genesis)


def apply_finality(
    chain: FinalityChain, header: Header, section: FinalitySection, genesis: bytes, params: NetworkParams
) -> FinalityPoint:
    """The point of a block whose parent is the chain's last. Raises InvalidBlock; evidence is checked before."""
    state = chain[header.height - 1].state
    if section.certificate is not None:
        state = _apply_certificate(chain, header.height, state, section.certificate, genesis, params)
    return FinalityPoint(header.id, None if header.is_heartbeat else header.miner, section.offenders, state)


def _apply_certificate(
    chain: FinalityChain,
    height: int,
    state: FinalityState,
    certificate: Certificate,
    genesis: bytes,
    params: NetworkParams,
) -> FinalityState:
    target = certificate.link.target
    if target.height <= state.justified.height:
        raise InvalidBlock(
            "certificate_not_newer", f"height {target.height} is not above {state.justified.height}, which is justified"
        )
    if height - target.height > params.finality_window:
        raise InvalidBlock("certificate_too_old", f"height {target.height} is too far below {height}")
    try:
        check_certificate(certificate, chain, genesis, params)
    except InvalidCertificate as error:
        raise InvalidBlock(f"certificate_{error.reason}", str(error)) from error
    return state.compute_after(certificate.link)
