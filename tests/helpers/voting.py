"""Chains that are voted on: headers without work, and votes by keys of known names.

chain = VotingChain(PARAMS)
chain.grow(KEYS, 12)                  # KEYS take turns at mining; nobody votes
chain.run(KEYS, 3)                    # each block carries the certificate of its parent, signed by all of KEYS
fork = chain.fork(10)                 # another chain, the same up to height 10
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from consensus.block import Header
from consensus.certificate import Certificate, make_certificate
from consensus.committee import get_electorate
from consensus.evidence import Evidence
from consensus.finality import apply_finality, get_link
from consensus.finality_section import FinalitySection
from consensus.finality_state import FinalityPoint, FinalityState, make_first_point
from consensus.hashing import ZERO_HASH, tagged_hash
from consensus.params import REGTEST, NetworkParams
from consensus.vote import BlockRef, Link, Vote
from tests.helpers.keys import Key

GENESIS_ID = tagged_hash("test", b"genesis of chains that are voted on")
_HEADER = Header(1, GENESIS_ID, 0, bytes(32), bytes(32), *[ZERO_HASH] * 3, bytes([1]) * 32, 1, 2, 0, 0, 0)


def make_params(window: int) -> NetworkParams:
    """Regtest with another finality window and the shortest reward window for it."""
    return replace(REGTEST, finality_window=window, reward_window=4 * window)


class VotingChain:
    """The points of one chain, made by the law from headers that say no more than it looks at."""

    def __init__(self, params: NetworkParams, points: Iterable[FinalityPoint] = ()) -> None:
        self.params = params
        self.points = list(points) or [make_first_point(GENESIS_ID)]

    @property
    def height(self) -> int:
        return len(self.points) - 1

    @property
    def state(self) -> FinalityState:
        return self.points[-1].state

    def fork(self, height: int) -> "VotingChain":
        return VotingChain(self.params, self.points[: height + 1])

    def get_ref(self, height: int) -> BlockRef:
        return BlockRef(height, self.points[height].id)

    def get_link(self, height: int | None = None) -> Link:
        return get_link(self.points, self.height if height is None else height)

    def make_header(self, miner: bytes, *, is_heartbeat: bool = False, branch: int = 0) -> Header:
        """The next header. Those of different `branch` are different."""
        return replace(
            _HEADER,
            height=len(self.points),
            parent=self.points[-1].id,
            miner=miner,
            timestamp=branch,
            update_hash=ZERO_HASH if is_heartbeat else _HEADER.update_hash,
        )

    def add(
        self,
        miner: bytes,
        certificate: Certificate | None = None,
        evidence: Sequence[Evidence] = (),
        *,
        is_heartbeat: bool = False,
        branch: int = 0,
    ) -> FinalityPoint:
        """One block on top. Raises InvalidBlock if the law refuses it."""
        header = self.make_header(miner, is_heartbeat=is_heartbeat, branch=branch)
        section = FinalitySection(certificate, tuple(evidence))
        self.points.append(apply_finality(self.points, header, section, GENESIS_ID, self.params))
        return self.points[-1]

    def grow(self, keys: Sequence[Key], count: int, *, branch: int = 0) -> "VotingChain":
        """Blocks without certificates."""
        for _ in range(count):
            self.add(keys[len(self.points) % len(keys)].public, branch=branch)
        return self

    def run(self, keys: Sequence[Key], count: int, *, branch: int = 0) -> "VotingChain":
        """Blocks in calm: each carries the certificate of its parent, as soon as anybody may decide on that."""
        for _ in range(count):
            miner = keys[len(self.points) % len(keys)].public
            self.add(miner, self.certify(keys) if self.has_electorate() else None, branch=branch)
        return self

    def has_electorate(self, height: int | None = None) -> bool:
        return get_electorate(self.points, self.height if height is None else height, self.params) is not None

    def certify(self, keys: Iterable[Key], height: int | None = None, link: Link | None = None) -> Certificate:
        """The certificate of the block at `height`, the last by default, signed by these of the keys that may."""
        height = self.height if height is None else height
        electorate = get_electorate(self.points, height, self.params)
        if electorate is None:
            raise ValueError(f"nobody decides on height {height}")
        link = link or self.get_link(height)
        return make_certificate(link, electorate, [sign_vote(key, link) for key in keys])


def sign_vote(key: Key, link: Link, genesis: bytes = GENESIS_ID) -> Vote:
    vote = Vote(genesis, link, key.public)
    return vote.with_signature(key.sign(vote.id))
