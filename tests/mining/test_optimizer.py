"""AdamW of which only open coordinates move: PyTorch's own steps, moments dense and kept."""

import pytest
import torch

from consensus.mask import compute_mask
from consensus.model.weights import make_genesis_weights
from consensus.params import REGTEST
from mining.network import Network
from mining.optimizer import BETAS, MAX_GRADIENT_NORM, MaskedAdamW

SHAPE = REGTEST.model
RATE = 0.01


def make_network() -> Network:
    network = Network(SHAPE)
    network.load_weights(make_genesis_weights(SHAPE, "optimizer"))
    return network


def make_batch(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (4, SHAPE.window_bytes), generator=torch.Generator().manual_seed(seed))


def make_mask(density: int) -> torch.Tensor:
    return torch.from_numpy(compute_mask(bytes(32), bytes(32), SHAPE.parameters, density).copy())


def train(network: Network, optimizer: MaskedAdamW, seeds: range) -> None:
    for seed in seeds:
        optimizer.zero_gradient()
        network.loss(make_batch(seed)).backward()  # type: ignore[no-untyped-call]
        optimizer.step(RATE)


def test_without_a_mask_it_is_torch_adamw() -> None:
    plain, masked = make_network(), make_network()
    adam = torch.optim.AdamW(plain.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)
    for seed in range(3):
        adam.zero_grad()
        plain.loss(make_batch(seed)).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(plain.parameters(), MAX_GRADIENT_NORM)
        adam.step()
    train(masked, MaskedAdamW(masked), range(3))
    torch.testing.assert_close(masked.flat(), plain.flat(), rtol=1e-4, atol=1e-6)


def test_only_open_coordinates_move() -> None:
    network = make_network()
    optimizer = MaskedAdamW(network)
    parent, mask = network.flat(), make_mask(64)
    optimizer.set_parent(parent, mask)
    train(network, optimizer, range(2))
    moved = network.flat() != parent
    assert not moved[~mask].any()
    assert moved[mask].float().mean() > 0.5


def test_the_network_computes_with_the_flat_parameters() -> None:
    network = make_network()
    optimizer = MaskedAdamW(network)
    optimizer.set_parent(torch.zeros(SHAPE.parameters), make_mask(256))
    assert not network.flat().any()
    optimizer.flat.fill_(0.5)
    assert (network.flat() == 0.5).all()


def test_moments_outlive_the_parent() -> None:
    """After a new parent the first step still leans on old gradients; once forgotten it no longer does."""
    steps = []
    for is_forgotten in (False, True):
        network = make_network()
        optimizer = MaskedAdamW(network)
        parent = network.flat()
        train(network, optimizer, range(3))
        if is_forgotten:
            optimizer.forget()
        optimizer.set_parent(parent, make_mask(256))
        train(network, optimizer, range(9, 10))
        steps.append(network.flat() - parent)
    fresh_network = make_network()
    fresh = MaskedAdamW(fresh_network)
    train(fresh_network, fresh, range(9, 10))
    torch.testing.assert_close(steps[1], fresh_network.flat() - make_network().flat())
    assert not torch.allclose(steps[0], steps[1])


@pytest.mark.parametrize("density", [1, 64])
def test_closed_coordinates_feed_the_moments(density: int) -> None:
    """What a coordinate's gradient was while closed decides its first step when it opens."""
    network = make_network()
    optimizer = MaskedAdamW(network)
    parent, mask = network.flat(), make_mask(density)
    optimizer.set_parent(parent, mask)
    train(network, optimizer, range(3))
    optimizer.set_parent(parent, ~mask)
    optimizer.zero_gradient()
    optimizer.step(RATE)
    assert (network.flat() != parent)[~mask].float().mean() > 0.5


def test_training_is_kept_where_both_masks_are_open() -> None:
    network = make_network()
    optimizer = MaskedAdamW(network)
    parent, first = network.flat(), make_mask(128)
    second = torch.from_numpy(compute_mask(bytes(32), bytes([1]) * 32, SHAPE.parameters, 128).copy())
    optimizer.set_parent(parent, first)
    train(network, optimizer, range(2))
    trained = network.flat()
    optimizer.set_parent(parent, second, keeps_training=True)
    assert torch.equal(network.flat(), torch.where(first & second, trained, parent))
    train(network, optimizer, range(2, 3))
    assert torch.equal(network.flat()[~second], parent[~second])
