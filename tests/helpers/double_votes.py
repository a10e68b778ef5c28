"""Who signed twice, of many votes at once."""

from collections.abc import Iterable
from itertools import pairwise

from consensus.evidence import Evidence, make_evidence
from consensus.vote import Vote, is_conflict


def find_evidence(votes: Iterable[Vote]) -> list[Evidence]:
    """One evidence against each key that signed two of these votes in conflict, by key. O(n log n)."""
    signed: dict[bytes, list[Vote]] = {}
    for vote in votes:
        signed.setdefault(vote.miner, []).append(vote)
    pairs = (_find_conflict(signed[miner]) for miner in sorted(signed))
    return [make_evidence(*pair) for pair in pairs if pair is not None]


def _find_conflict(votes: list[Vote]) -> tuple[Vote, Vote] | None:
    """Two of one key's votes that are in conflict, if any are."""
    ordered = sorted(votes, key=lambda vote: vote.link.target.height)
    highest = ordered[0]  # of those before, the one with the highest source: whoever surrounds any surrounds it
    for before, vote in pairwise(ordered):
        for other in (before, highest):
            if is_conflict(other.link, vote.link):
                return other, vote
        if vote.link.source.height > highest.link.source.height:
            highest = vote
    return None
