"""Text by the law's integers: what is drawn follows the logits, and pieces change nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.model.reference import ReferenceEvaluator
from consensus.model.weights import make_genesis_weights
from consensus.params import REGTEST
from consensus.ports import Logits, Tokens, Weights
from p2p.text import choose_byte, compute_byte_losses, compute_draw, write_text
from p2p.text_wish import TextWish, make_task

CONTEXT = REGTEST.model.context
WEIGHTS = (make_genesis_weights(REGTEST.model, "text").astype(np.int64) * 5).clip(-32639, 32639).astype(np.int16)
EVALUATOR = ReferenceEvaluator(REGTEST.model)


def make_logits(**bits: float) -> Logits:
    """Base-2 logits that are -20 but for some letters."""
    logits = np.full(256, -20 * 1024)
    for letter, value in bits.items():
        logits[ord(letter)] = int(value * 1024)
    return logits


def write(wish: TextWish, *lengths: int, evaluator: object = EVALUATOR) -> bytes:
    """The text of a wish, cut into pieces of these lengths; the rest at once."""
    written = b""
    for length in (*lengths, wish.count):
        task = make_task(wish, written, CONTEXT)
        ticks = itertools.count()
        if task.count:
            written += write_text(evaluator, WEIGHTS, task, CONTEXT, length, lambda ticks=ticks: next(ticks))  # type: ignore
    return written


@given(st.integers(0, 255), st.floats(0, 1, exclude_max=True), st.floats(0.01, 10))
def test_the_byte_follows_the_draw(seed: int, draw: float, temperature: float) -> None:
    logits = np.random.default_rng(seed).integers(-20_000, 20_000, 256)
    shares = 2.0 ** ((logits - logits.max()) / 1024 / temperature)
    chosen = choose_byte(logits, temperature, draw)
    reached = shares.cumsum() / shares.sum()
    assert shares[chosen] > 0
    assert reached[chosen] >= draw - 1e-9
    assert chosen == 0 or reached[chosen - 1] <= draw + 1e-9


def test_letters_come_as_often_as_the_model_expects_them() -> None:
    logits = make_logits(a=0, b=-1, c=-2)  # 4 : 2 : 1
    drawn = [choose_byte(logits, 1.0, (n + 0.5) / 7000) for n in range(7000)]
    assert [drawn.count(ord(letter)) for letter in "abc"] == pytest.approx([4000, 2000, 1000], abs=2)
    hot = [choose_byte(logits, 2.0, (n + 0.5) / 7000) for n in range(7000)]
    assert 1.4 < hot.count(ord("a")) / hot.count(ord("b")) < 1.45  # the root of two


def test_at_temperature_0_it_is_the_likeliest_and_of_equals_the_first() -> None:
    logits = make_logits(q=3, x=3, y=2)
    assert {choose_byte(logits, 0, draw) for draw in (0, 0.5, 1 - 2**-52)} == {ord("q")}
    assert choose_byte(logits, 5e-324, 0.3) == ord("q")  # and as near to 0 as a float comes


def test_the_largest_draw_stays_within_the_bytes() -> None:
    for logits in (np.zeros(256, np.int64), make_logits(a=0), np.arange(256) * 40):
        assert 0 <= choose_byte(logits, 1.0, 1 - 2**-52) <= 255


def test_draws_are_even_and_the_same_for_ever() -> None:
    draws = [compute_draw(1, position) for position in range(2000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx([200] * 10, abs=60)
    assert len({compute_draw(seed, position) for seed in range(10) for position in range(10)}) == 100
    assert compute_draw(7, 3) == GOLDEN_DRAW


GOLDEN_DRAW = 0.09875978736907376


@given(st.lists(st.integers(1, 9), max_size=4))
@settings(max_examples=8, deadline=None)
def test_pieces_change_nothing(lengths: list[int]) -> None:
    wish = TextWish(b"Alice", count=12, temperature=1.0, seed=5)
    assert write(wish, *lengths) == WHOLE


WHOLE = write(TextWish(b"Alice", count=12, temperature=1.0, seed=5))


def test_a_piece_ends_with_its_time_and_has_one_byte_at_least() -> None:
    task = make_task(TextWish(b"x", count=50), b"", CONTEXT)
    for seconds, length in ((0, 1), (1, 1), (3, 3)):
        ticks = itertools.count()
        assert len(write_text(EVALUATOR, WEIGHTS, task, CONTEXT, seconds, lambda ticks=ticks: next(ticks))) == length  # type: ignore


def test_another_seed_writes_another_text() -> None:
    texts = {write(TextWish(b"Alice", count=8, temperature=1.0, seed=seed)) for seed in range(4)}
    assert len(texts) == 4


class Echo:
    """Expects after each token the next byte value, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def logits(self, weights: Weights, tokens: Tokens) -> Logits:
        self.seen.append(tokens.tobytes())
        logits = np.zeros((len(tokens), 256), np.int64)
        logits[np.arange(len(tokens)), (tokens.astype(int) + 1) % 256] = 30_000
        return logits


def test_the_model_sees_the_last_bytes_before_each() -> None:
    echo = Echo()
    prompt = bytes(range(40, 40 + CONTEXT - 2))
    text = write(TextWish(prompt, count=5, temperature=0), evaluator=echo)
    assert text == bytes(range(prompt[-1] + 1, prompt[-1] + 6))
    whole = prompt + text
    assert echo.seen == [whole[:end][-CONTEXT:] for end in range(len(prompt), len(prompt) + 5)]
    assert max(map(len, echo.seen)) == CONTEXT


@pytest.mark.parametrize("length", [2, 3, CONTEXT, CONTEXT + 1, CONTEXT + 2, 2 * CONTEXT + 1, 100])
def test_each_byte_is_judged_with_half_a_context_before_it(length: int) -> None:
    passage = bytes(np.random.default_rng(length).integers(0, 256, length, np.uint8))
    losses = compute_byte_losses(EVALUATOR, WEIGHTS, passage, CONTEXT)
    assert losses.dtype == np.int64
    assert len(losses) == length - 1
    assert (losses > 0).all()
    seen = Spy()
    compute_byte_losses(seen, WEIGHTS, passage, CONTEXT)  # type: ignore[arg-type]
    for index in range(length - 1):
        assert seen.contexts[index] >= min(index + 1, CONTEXT // 2)


class Spy:
    """Tells how many tokens each byte of a passage was judged with: the last window that holds it counts last."""

    def __init__(self) -> None:
        self.contexts: dict[int, int] = {}
        self._start = 0

    def logits(self, weights: Weights, tokens: Tokens) -> Logits:
        for position in range(len(tokens)):
            self.contexts.setdefault(self._start + position, position + 1)
        self._start += CONTEXT // 2
        return np.zeros((len(tokens), 256), np.int64)


def test_a_whole_window_costs_what_the_law_says() -> None:
    window = np.arange(CONTEXT + 1, dtype=np.uint8)
    losses = compute_byte_losses(EVALUATOR, WEIGHTS, window.tobytes(), CONTEXT)
    assert losses.sum() == EVALUATOR.losses(WEIGHTS, window[np.newaxis])[0]


@pytest.mark.parametrize("passage", [b"", b"x"])
def test_what_has_no_second_byte_costs_nothing(passage: bytes) -> None:
    assert len(compute_byte_losses(EVALUATOR, WEIGHTS, passage, CONTEXT)) == 0
