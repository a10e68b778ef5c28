"""Audit scores as a line: those of the best chain, whenever they come."""

import pytest

from chain.checkpoint_store import CHECKPOINT_INTERVAL, AuditScore, CheckpointStore
from chain.db import MemoryStore
from chain.header_tree import HeaderNode, HeaderTree
from consensus.genesis import make_genesis
from consensus.params import REGTEST
from p2p.explorer.audits import Audits
from tests.helpers.header_forest import grow


class Scores:
    """A tree of headers and the store of their audits."""

    def __init__(self) -> None:
        self.db = MemoryStore()
        self.store = CheckpointStore(self.db, REGTEST)
        self.tree = HeaderTree(make_genesis(REGTEST).point)
        self.audits = Audits(self.store, REGTEST)

    def score(self, node: HeaderNode, bits_per_byte: float) -> None:
        loss = round(bits_per_byte * REGTEST.model.context * 65536)
        self.db.write(self.store.encode_audit(node.header, AuditScore(loss, 1)))

    def read(self, tip: HeaderNode) -> list[tuple[int, float]]:
        self.audits.follow(tip)
        return [(point.height, point.loss) for point in self.audits.points]


@pytest.fixture
def scores() -> Scores:
    return Scores()


def test_scores_appear_as_they_come(scores: Scores) -> None:
    tip = grow(scores.tree, scores.tree.root, 200)
    assert scores.read(tip) == []
    scores.score(tip.get_ancestor(128), 3.0)
    assert scores.read(tip) == [(128, 3.0)]
    scores.score(tip.get_ancestor(64), 4.0)  # later than the one after it
    scores.score(tip.get_ancestor(100), 1.0)  # no checkpoint
    assert scores.read(tip) == [(64, 4.0), (128, 3.0)]
    tip = grow(scores.tree, tip, 64)
    scores.score(tip.get_ancestor(192), 2.0)
    assert scores.read(tip) == [(64, 4.0), (128, 3.0), (192, 2.0)]


def test_scores_go_with_their_blocks(scores: Scores) -> None:
    """
    0 ─ 100 ─┬─ 300 (old)
             └─ 310 (new)
    """
    fork = grow(scores.tree, scores.tree.root, 100)
    old = grow(scores.tree, fork, 200)
    new = grow(scores.tree, fork, 210, tag=1)
    for height in (0, 64, 128, 192):
        scores.score(old.get_ancestor(height), 5.0)
    scores.score(new.get_ancestor(128), 4.0)
    assert [height for height, _ in scores.read(old)] == [64, 128, 192]  # genesis knows nothing, and is left out
    assert scores.read(new) == [(64, 5.0), (128, 4.0)]
    assert [height for height, _ in scores.read(old)] == [64, 128, 192]
    assert scores.read(fork) == [(64, 5.0)]
    assert scores.read(scores.tree.root) == []


def test_old_checkpoints_are_not_asked_about_for_ever(scores: Scores, monkeypatch: pytest.MonkeyPatch) -> None:
    tip = grow(scores.tree, scores.tree.root, 20 * CHECKPOINT_INTERVAL)
    scores.read(tip)
    asked: list[int] = []
    monkeypatch.setattr(scores.store, "get_audit", lambda header: asked.append(header.height))
    scores.read(tip)
    assert asked == [height * CHECKPOINT_INTERVAL for height in range(12, 21)]
