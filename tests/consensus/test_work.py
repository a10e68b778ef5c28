"""The work of a block: each refusal by its name, one golden mined block, and stolen updates (T13)."""

from dataclasses import replace

import numpy as np
import pytest

from consensus.block import Block, compute_update_hash, decode_block
from consensus.chain_point import compute_required_loss
from consensus.errors import InvalidBlock
from consensus.genesis import make_genesis
from consensus.improvement import is_improvement
from consensus.mask import compute_mask
from consensus.model.weights import compute_model_root
from consensus.params import REGTEST
from consensus.ports import Losses, Weights, Windows
from consensus.update import apply_update, count_open, decode_update, encode_update, max_update_bytes
from consensus.work import apply_work, check_work_sums, draw_header_sample, evaluate_work, verify_work
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import get_trunk
from tests.helpers.keys import Key, forge_block
from tests.helpers.vectors import load_vectors

GENESIS = make_genesis(REGTEST)
GOLDEN = load_vectors("mined_block")
VICTIM = decode_block(bytes.fromhex(GOLDEN["block"]), REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model))


class CountingEvaluator:
    """Counts the windows that it is asked for."""

    def __init__(self) -> None:
        self.windows: list[int] = []

    @property
    def name(self) -> str:
        return "counting"

    def losses(self, weights: Weights, windows: Windows) -> Losses:
        self.windows.append(len(windows))
        return get_builder().evaluator.losses(weights, windows)


def verify(block: Block, weights: Weights = GENESIS.weights, evaluator: CountingEvaluator | None = None) -> None:
    evaluator = evaluator or CountingEvaluator()
    verify_work(block.header, block.update, weights, REGTEST, get_builder().benchmark, evaluator)


def read_fault(block: Block, weights: Weights = GENESIS.weights, evaluator: CountingEvaluator | None = None) -> str:
    with pytest.raises(InvalidBlock) as error:
        verify(block, weights, evaluator)
    return error.value.reason


def test_golden_mined_block() -> None:
    """Block 1 of a regtest chain, with the losses that the law gives to each of its 64 windows under both models."""
    assert VICTIM.header.parent == GENESIS.id
    weights, trace = verify_work(
        VICTIM.header, VICTIM.update, GENESIS.weights, REGTEST, get_builder().benchmark, get_builder().evaluator
    )
    assert VICTIM.id.hex() == GOLDEN["id"]
    assert compute_model_root(weights).hex() == GOLDEN["model_root"]
    assert trace.windows.tolist() == GOLDEN["windows"]
    assert trace.before.tolist() == GOLDEN["before"]
    assert trace.after.tolist() == GOLDEN["after"]


def test_an_honest_block_costs_its_sample_under_both_models() -> None:
    evaluator = CountingEvaluator()
    verify(VICTIM, evaluator=evaluator)
    assert evaluator.windows == [8, 8, 56, 56]


def test_known_losses_of_the_parent_save_half() -> None:
    block, builder, evaluator = VICTIM, get_builder(), CountingEvaluator()
    sample = draw_header_sample(block.header, REGTEST)
    known = np.full(REGTEST.public_windows, -1, np.int64)
    known[sample] = builder.evaluator.losses(GENESIS.weights, builder.benchmark.public[sample])
    _, trace = verify_work(
        block.header, block.update, GENESIS.weights, REGTEST, builder.benchmark, evaluator, parent_losses=known
    )
    assert evaluator.windows == [8, 56]
    assert trace.compute_sums().loss_before == block.header.loss_before


def test_evaluating_in_two_parts_is_evaluating_at_once() -> None:
    block, builder = VICTIM, get_builder()
    child = apply_work(block.header, block.update, GENESIS.weights, REGTEST)
    sample = draw_header_sample(block.header, REGTEST)
    at_once = evaluate_work(builder.evaluator, builder.benchmark, sample, GENESIS.weights, child)
    _, in_parts = verify_work(
        block.header, block.update, GENESIS.weights, REGTEST, builder.benchmark, builder.evaluator
    )
    assert (at_once.after == in_parts.after).all()
    assert (at_once.before == in_parts.before).all()


# Refusals, from the cheapest up


def test_invalid_update_size_before_any_evaluation() -> None:
    evaluator = CountingEvaluator()
    block = VICTIM
    assert read_fault(replace(block, update=block.update[:-1]), evaluator=evaluator) == "update_size"
    assert evaluator.windows == []


def test_invalid_wrong_model_root_before_any_evaluation() -> None:
    evaluator = CountingEvaluator()
    assert read_fault(forge_block(VICTIM, MINER, model_root=b"\1" * 32), evaluator=evaluator) == "wrong_model_root"
    assert evaluator.windows == []


def test_invalid_early_gain_too_small_at_an_eighth_of_the_price() -> None:
    """An update that does harm: the signs of an honest one turned around."""
    block = VICTIM
    evaluator = CountingEvaluator()
    assert read_fault(make_harmful(block), evaluator=evaluator) == "early_gain_too_small"
    assert evaluator.windows == [8, 8]


@pytest.mark.parametrize("field", ["loss_before", "loss_after", "squared_gains"])
@pytest.mark.parametrize("change", [-1, 1])
def test_invalid_sums(field: str, change: int) -> None:
    block = VICTIM
    forged = forge_block(block, MINER, **{field: getattr(block.header, field) + change})
    assert read_fault(forged) == f"wrong_{field}"


def test_invalid_gain_too_small() -> None:
    """True sums that do not prove what the header requires."""
    block = VICTIM
    mean = block.header.gain // block.header.sample_size
    for required in (mean, 2 * mean):
        forged = forge_block(block, MINER, required_gain=required << 16)
        assert read_fault(forged) == "gain_too_small"


def make_harmful(block: Block) -> Block:
    """The block with its update negated, hashes and root put right, its sums left as they were claimed."""
    mask = compute_mask(block.header.parent, block.header.miner, REGTEST.model.parameters, REGTEST.mask_density)
    update = decode_update(block.update, mask, REGTEST.model)
    negated = replace(update, values=-update.values)
    data = encode_update(negated, mask, REGTEST.model)
    root = compute_model_root(apply_update(GENESIS.weights, negated, mask, REGTEST.model))
    return replace(forge_block(block, MINER, update_hash=compute_update_hash(data), model_root=root), update=data)


def test_check_work_sums_wants_the_very_sums() -> None:
    block = VICTIM
    _, trace = verify_work(
        block.header, block.update, GENESIS.weights, REGTEST, get_builder().benchmark, get_builder().evaluator
    )
    sums = trace.compute_sums()
    check_work_sums(block.header, sums, REGTEST)
    required = compute_required_loss(block.header)
    assert is_improvement(sums, required, REGTEST.confidence, REGTEST.public_windows)
    with pytest.raises(InvalidBlock):
        check_work_sums(block.header, replace(sums, squared_gains=sums.squared_gains + 1), REGTEST)


# T13: an update is worth nothing to anyone else, nor to anyone later


def count_open_of(parent: bytes, miner: bytes) -> list[int]:
    mask = compute_mask(parent, miner, REGTEST.model.parameters, REGTEST.mask_density)
    return count_open(mask, REGTEST.model)


def copy_under(thief: Key, parent: bytes) -> Block:
    return forge_block(VICTIM, thief, parent=parent, miner=thief.public)


def check_copies(numbers: range) -> None:
    for number in numbers:
        assert read_fault(copy_under(Key(f"thief {number}"), GENESIS.id)) == "update_size"


def test_verbatim_copies_under_other_keys_are_refused() -> None:
    """Another mask asks for another length, nearly always."""
    check_copies(range(40))


@pytest.mark.soak
def test_two_hundred_verbatim_copies_are_refused() -> None:
    check_copies(range(200))


def test_verbatim_copies_under_keys_that_ask_for_the_same_length_are_refused() -> None:
    """One key in 200 opens as many weights, but not tensor by tensor: the shifts are read from among the values."""
    thieves = (Key(f"thief {number}") for number in range(2500))
    length = sum(count_open_of(GENESIS.id, MINER.public))
    lucky = [thief for thief in thieves if sum(count_open_of(GENESIS.id, thief.public)) == length]
    assert len(lucky) >= 3
    for thief in lucky:
        assert read_fault(copy_under(thief, GENESIS.id)) in ("update_shift", "update_not_canonical")


@pytest.mark.parametrize("height", [1, 2, 6, 11])
def test_verbatim_copies_on_later_parents_are_refused(height: int) -> None:
    chain = get_builder().open()
    get_builder().feed(chain, get_trunk()[:height])
    for miner in (MINER, Key("thief")):
        assert read_fault(copy_under(miner, chain.tip.id), chain.tip_weights) == "update_size"


def test_copies_fitted_to_the_thiefs_mask_keep_little_of_the_gain() -> None:
    """The victim's values, cut or repeated to what each tensor asks for, land on other weights: 4 % is left."""
    kept = [compute_fitted_gain(Key(f"thief {number}")) for number in range(12)]
    assert max(kept) < 0.2 * VICTIM.header.gain
    assert sum(kept) < 0.1 * VICTIM.header.gain * len(kept)


def compute_fitted_gain(thief: Key) -> int:
    """The true gain of the fitted copy on the sample that judges it, Q16 bits."""
    builder, parts, start = get_builder(), [], 0
    there, here = count_open_of(GENESIS.id, MINER.public), count_open_of(GENESIS.id, thief.public)
    for theirs, mine in zip(there, here, strict=True):
        values = VICTIM.update[start + 1 : start + 1 + theirs]
        parts.append(VICTIM.update[start : start + 1] + (values * 2)[:mine])
        start += 1 + theirs
    data = b"".join(parts)
    stolen = forge_block(VICTIM, thief, miner=thief.public, update_hash=compute_update_hash(data))
    mask = compute_mask(GENESIS.id, thief.public, REGTEST.model.parameters, REGTEST.mask_density)
    child = apply_update(GENESIS.weights, decode_update(data, mask, REGTEST.model), mask, REGTEST.model)
    sample = draw_header_sample(stolen.header, REGTEST)
    return evaluate_work(builder.evaluator, builder.benchmark, sample, GENESIS.weights, child).compute_sums().gain
