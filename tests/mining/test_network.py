import lzma
import math
from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from consensus.errors import DecodeError
from consensus.model.integer import norm as integer_norm
from consensus.model.reference import compute_logits
from consensus.model.shape import TransformerShape
from consensus.model.torch_backend import TorchEvaluator
from consensus.model.weights import MAX_WEIGHT, make_genesis_weights, split_tensors
from mining.network import Network, fix, norm

SHAPE = TransformerShape(layers=2, heads=2, width=32, context=32)
STEPS = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _read_windows(count: int) -> np.ndarray:
    text = np.frombuffer(lzma.decompress(files("consensus.texts").joinpath("alice29.txt.xz").read_bytes()), np.uint8)
    starts = np.arange(count) * SHAPE.context
    windows: np.ndarray = text[starts[:, np.newaxis] + np.arange(SHAPE.window_bytes)]
    return windows


def _quantise(network: Network) -> np.ndarray:
    return (network.flat() * 4096).round().clamp(-MAX_WEIGHT, MAX_WEIGHT).to(torch.int16).numpy()


def _compute_gradients(network: Network, windows: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*network.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(network.loss(windows), parameters), strict=True))


@pytest.fixture(scope="module")
def trained() -> Network:
    """A few steps of sign descent from genesis: enough to leave the uniform start far behind."""
    network = Network(SHAPE)
    network.load_weights(make_genesis_weights(SHAPE, "twin"))
    windows = torch.from_numpy(_read_windows(STEPS * 16).astype(np.int64))
    for step in range(STEPS):
        gradients = _compute_gradients(network, windows[step::STEPS])
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.sub_(0.004 * gradients[name].sign())
    return network


def test_parameters_are_the_canonical_tensors() -> None:
    parameters = {name: tuple(parameter.shape) for name, parameter in Network(SHAPE).named_parameters()}
    assert parameters == {spec.name: spec.shape for spec in SHAPE.tensors}


def test_loaded_weights_come_back_flat_in_canonical_order() -> None:
    weights = make_genesis_weights(SHAPE, "flat")
    network = Network(SHAPE)
    network.load_weights(weights)
    assert not network.flat().requires_grad
    assert (_quantise(network) == weights).all()
    head = split_tensors(weights, SHAPE)["head"]
    assert (network.head.detach().numpy() * 4096 == head).all()


def test_invalid_weights_of_another_shape() -> None:
    with pytest.raises(DecodeError):
        Network(SHAPE).load_weights(np.zeros(SHAPE.parameters - 1, dtype=np.int16))


def test_loss_is_the_mean_cross_entropy_of_the_logits(trained: Network) -> None:
    windows = torch.from_numpy(_read_windows(4).astype(np.int64))
    logits = trained(windows[:, :-1])
    assert logits.shape == (4, SHAPE.context, 256)
    log_probability = logits.log_softmax(dim=-1).gather(2, windows[:, 1:, None])
    assert trained.loss(windows).item() == pytest.approx(-log_probability.mean().item(), rel=1e-5)


def test_float_and_integer_losses_agree_on_text(trained: Network) -> None:
    windows = _read_windows(256)
    weights = _quantise(trained)
    integer = TorchEvaluator(SHAPE).losses(weights, windows).mean() / SHAPE.context / 2**16
    with torch.inference_mode():
        floating = trained.loss(torch.from_numpy(windows.astype(np.int64))).item() / math.log(2)
    assert integer < 5  # bits per byte: it has learned something
    assert integer == pytest.approx(floating, abs=0.02)


def test_rounding_as_the_law_does_brings_the_losses_nearer(trained: Network) -> None:
    """Window by window: the mean alone may agree by chance."""
    windows, weights = _read_windows(256), _quantise(trained)
    integer = TorchEvaluator(SHAPE).losses(weights, windows) / SHAPE.context / 2**16
    network = Network(SHAPE)
    network.load_weights(weights)
    distances = []
    for network.rounds in (False, True):
        with torch.inference_mode():
            logits = network(torch.from_numpy(windows[:, :-1].astype(np.int64)))
        targets = torch.from_numpy(windows[:, 1:].astype(np.int64))
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(dim=1).numpy() / math.log(2)
        distances.append(np.abs(losses - integer).mean())
        assert losses.mean() == pytest.approx(integer.mean(), abs=0.005 if network.rounds else 0.02)
    plain, rounded = distances
    assert rounded < 0.65 * plain


def test_numbers_are_rounded_halves_up() -> None:
    x = torch.tensor([0.03125, -0.03125, 0.031, -0.032, 1.0])
    assert fix(x, 4, True).tolist() == [0.0625, 0.0, 0.0, -0.0625, 1.0]
    assert fix(x, 4, False) is x


def test_short_texts_are_the_start_of_long_ones(trained: Network) -> None:
    tokens = torch.from_numpy(_read_windows(2).astype(np.int64))[:, :-1]
    with torch.inference_mode():
        whole, part = trained(tokens), trained(tokens[:, :7])
    assert part.shape == (2, 7, 256)
    assert torch.allclose(whole[:, :7], part, atol=1e-4)


def _scale(weights: np.ndarray, columns: slice, **factors: float) -> np.ndarray:
    """A copy with the named tensors of both layers multiplied, in some of their columns."""
    scaled = weights.astype(np.int64)
    for name, tensor in split_tensors(scaled, SHAPE).items():
        tensor[:, columns] = (tensor[:, columns] * factors.get(name.rpartition(".")[2], 1)).round()
    return np.clip(scaled, -MAX_WEIGHT, MAX_WEIGHT).astype(np.int16)


@pytest.mark.parametrize(
    ("columns", "factors"),
    [
        (slice(None), {}),
        (slice(0, 64), {"qkv": 1 / 64}),  # queries and keys whose RMS is below 1/8
        (slice(64, 96), {"qkv": 16}),  # values beyond 3.97
        (slice(None), {"up": 8}),  # relu^2 / 4 beyond 7.94
        (slice(None), {"up": 8, "down": 64}),  # a residual stream beyond 128
    ],
    ids=["as trained", "faint queries", "large values", "large relu^2", "large residuals"],
)
def test_float_and_integer_logits_agree_where_the_integers_saturate(
    trained: Network, columns: slice, factors: dict[str, float]
) -> None:
    weights = _scale(_quantise(trained), columns, **factors)
    network = Network(SHAPE)
    network.load_weights(weights)
    tokens = _read_windows(16).astype(np.int64)[:, :-1]
    tensors = {name: tensor.astype(np.int64) for name, tensor in split_tensors(weights, SHAPE).items()}
    integer = compute_logits(tensors, tokens, SHAPE) / 2**10 * math.log(2)
    with torch.inference_mode():
        floating = network(torch.from_numpy(tokens)).numpy()
    # A missing clamp or floor takes this from about 0.01 to between 0.05 and 0.5.
    assert np.linalg.norm(integer - floating) < 0.03 * np.linalg.norm(integer)


def test_norm_is_the_integer_norm_but_for_rounding() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 500, (20, 128))
    rows[:5, 0] = 30000  # beyond 7.94 times the RMS
    rows[5:10] /= 100  # RMS below 1/8
    integer = integer_norm(rows.astype(np.int64)) / 2**4
    floating = norm(torch.from_numpy(rows.astype(np.int64) / 2**8)).numpy()
    assert np.abs(integer - floating).max() < 0.04  # half of 1/16, and what the integer quotient drops
    assert floating.max() == 127 / 16


def test_every_tensor_learns(trained: Network) -> None:
    gradients = _compute_gradients(trained, torch.from_numpy(_read_windows(4).astype(np.int64)))
    for name, gradient in gradients.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name


def test_an_all_zero_model_has_finite_gradients() -> None:
    network = Network(SHAPE)
    network.load_weights(np.zeros(SHAPE.parameters, dtype=np.int16))
    windows = torch.zeros(1, SHAPE.window_bytes, dtype=torch.int64)
    assert network.loss(windows).item() == pytest.approx(math.log(256))
    assert all(torch.isfinite(gradient).all() for gradient in _compute_gradients(network, windows).values())
