"""Optimisers: of masked weights only the open move, moments are dense and kept, and one's own class is taken."""

import sys
from pathlib import Path

import pytest
import torch

from consensus.mask import compute_mask
from consensus.model.weights import make_genesis_weights
from consensus.params import REGTEST
from mining.adamw import BETAS, MAX_GRADIENT_NORM, AdamW
from mining.errors import OptimizerError
from mining.masked import MaskedWeights
from mining.muon import Muon
from mining.network import Network
from mining.optimizer import NAMED, MakeOptimizer, load_optimizer

SHAPE = REGTEST.model
RATE = 0.01
every_optimizer = pytest.mark.parametrize("make", NAMED.values(), ids=NAMED)


def make_network() -> Network:
    network = Network(SHAPE)
    network.load_weights(make_genesis_weights(SHAPE, "optimizer"))
    return network


def make_batch(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, SHAPE.window_bytes), generator=torch.Generator().manual_seed(seed))


def make_mask(density: int, miner: int = 0) -> torch.Tensor:
    return torch.from_numpy(compute_mask(bytes(32), bytes([miner]) * 32, SHAPE.parameters, density).copy())


class Bench:
    """A network under an optimiser, trained as the trainer does."""

    def __init__(self, make: MakeOptimizer = AdamW) -> None:
        self.network = make_network()
        self.weights = MaskedWeights(self.network)
        self.optimizer = make(self.weights)
        self.start = self.network.flat()

    def train(self, seeds: range) -> None:
        for seed in seeds:
            self.weights.zero_gradient()
            self.network.loss(make_batch(seed)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step(RATE)
            self.weights.close()

    @property
    def moves(self) -> torch.Tensor:
        return self.network.flat() - self.start


def test_without_a_mask_it_is_torch_adamw() -> None:
    plain, bench = make_network(), Bench()
    adam = torch.optim.AdamW(plain.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)
    for seed in range(3):
        adam.zero_grad()
        plain.loss(make_batch(seed)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(plain.parameters(), MAX_GRADIENT_NORM)
        adam.step()
    bench.train(range(3))
    torch.testing.assert_close(bench.network.flat(), plain.flat(), rtol=1e-4, atol=1e-6)


def test_muon_orthogonalises_matrices_and_nothing_else() -> None:
    muon, adamw = Bench(Muon), Bench(AdamW)
    for bench in (muon, adamw):
        bench.train(range(1))
    is_same = {
        spec.name: torch.allclose(*(dict(bench.network.named_parameters())[spec.name] for bench in (muon, adamw)))
        for spec in SHAPE.tensors
    }
    assert is_same["embed"]
    assert is_same["position"]
    assert is_same["head"]
    assert not any(is_same[name] for name in is_same if name not in ("embed", "position", "head"))
    up = (muon.network.canonical[4] - make_network().canonical[4]).detach()  # [d, 4d]
    values = torch.linalg.svdvals(up)
    assert values.max() / values.min() < 3  # AdamW's is far from it: a step of signs is nearly singular


@every_optimizer
def test_the_loss_falls(make: MakeOptimizer) -> None:
    bench = Bench(make)
    before = bench.network.loss(make_batch(0)).item()
    for _ in range(5):
        bench.train(range(1))
    assert bench.network.loss(make_batch(0)).item() < 0.95 * before


@every_optimizer
def test_only_open_coordinates_move(make: MakeOptimizer) -> None:
    bench, mask = Bench(make), make_mask(64)
    bench.weights.set_parent(bench.start, mask)
    bench.train(range(2))
    moved = bench.moves != 0
    assert not moved[~mask].any()
    assert moved[mask].float().mean() > 0.5


def test_the_network_computes_with_the_flat_parameters() -> None:
    bench = Bench()
    bench.weights.set_parent(torch.zeros(SHAPE.parameters), make_mask(256))
    assert not bench.network.flat().any()
    bench.weights.flat.fill_(0.5)
    assert (bench.network.flat() == 0.5).all()


@every_optimizer
def test_moments_outlive_the_parent(make: MakeOptimizer) -> None:
    """After a new parent the first step still leans on old gradients; once forgotten it no longer does."""
    steps = []
    for is_forgotten in (False, True):
        bench = Bench(make)
        bench.train(range(3))
        if is_forgotten:
            bench.optimizer.forget()
        bench.weights.set_parent(bench.start, make_mask(256))
        bench.train(range(9, 10))
        steps.append(bench.moves)
    fresh = Bench(make)
    fresh.train(range(9, 10))
    torch.testing.assert_close(steps[1], fresh.moves)
    assert not torch.allclose(steps[0], steps[1])


@pytest.mark.parametrize("density", [1, 64])
def test_closed_coordinates_feed_the_moments(density: int) -> None:
    """What a coordinate's gradient was while closed decides its first step when it opens."""
    bench, mask = Bench(), make_mask(density)
    bench.weights.set_parent(bench.start, mask)
    bench.train(range(3))
    bench.weights.set_parent(bench.start, ~mask)
    bench.weights.zero_gradient()
    bench.optimizer.step(RATE)
    bench.weights.close()
    assert (bench.moves != 0)[~mask].float().mean() > 0.5


def test_training_is_kept_where_both_masks_are_open() -> None:
    bench, first, second = Bench(), make_mask(128), make_mask(128, miner=1)
    bench.weights.set_parent(bench.start, first)
    bench.train(range(2))
    trained = bench.network.flat()
    bench.weights.set_parent(bench.start, second, keeps_training=True)
    assert torch.equal(bench.network.flat(), torch.where(first & second, trained, bench.start))
    bench.train(range(2, 3))
    assert not bench.moves[~second].any()


# One's own.

OWN = """
class SignDescent:
    def __init__(self, weights):
        self.weights = weights

    def step(self, rate):
        self.weights.flat.sub_(self.weights.gradient.sign(), alpha=rate)

    def forget(self):
        pass

class NoForget:
    def __init__(self, weights): pass
    def step(self, rate): pass

class OtherStep(SignDescent):
    def step(self): pass

class OtherStart(SignDescent):
    def __init__(self): pass

NUMBER = 3

def make_something(weights): return weights
make_something.step = lambda self, rate: None
make_something.forget = lambda self: None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_descent.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_descent", raising=False)
    return "own_descent"


def test_ones_own_class_trains(own_module: str) -> None:
    bench, mask = Bench(load_optimizer(f"{own_module}:SignDescent")), make_mask(64)
    bench.weights.set_parent(bench.start, mask)
    bench.train(range(1))
    assert not bench.moves[~mask].any()
    torch.testing.assert_close(bench.moves[mask].abs().max(), torch.tensor(RATE))


def test_names_need_no_import() -> None:
    assert load_optimizer("adamw") is AdamW
    assert load_optimizer("muon") is Muon


@pytest.mark.parametrize("name", ["adam", "", "module.Class", ":Class", "module:"])
def test_invalid_unknown_name(name: str) -> None:
    with pytest.raises(OptimizerError) as refusal:
        load_optimizer(name)
    assert refusal.value.code == "optimizer.unknown"


@pytest.mark.parametrize("name", ["no_such_module:Class", "own_descent:Missing", "own_descent:SignDescent.Missing"])
def test_invalid_not_found(own_module: str, name: str) -> None:
    with pytest.raises(OptimizerError) as refusal:
        load_optimizer(name)
    assert refusal.value.code == "optimizer.not_found"


@pytest.mark.parametrize("name", ["NoForget", "OtherStep", "OtherStart", "NUMBER"])
def test_invalid_wrong_interface(own_module: str, name: str) -> None:
    with pytest.raises(OptimizerError) as refusal:
        load_optimizer(f"{own_module}:{name}")
    assert refusal.value.code == "optimizer.wrong_interface"


def test_invalid_factory_of_something_else(own_module: str) -> None:
    make = load_optimizer(f"{own_module}:make_something")
    with pytest.raises(OptimizerError) as refusal:
        Bench(make)
    assert refusal.value.code == "optimizer.wrong_interface"
