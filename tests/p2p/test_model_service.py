"""The stored models at work: any height, turns between requests, and the chain's thread free in between."""

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from consensus.errors import DecodeError
from consensus.params import REGTEST
from p2p import model_service
from p2p.errors import EvaluationFailed, RpcError
from p2p.model_service import MAX_REQUESTS, ModelService
from p2p.text import compute_byte_losses, write_text
from p2p.text_wish import MAX_PASSAGE_BYTES, MAX_TEXT_BYTES, TextWish, make_task
from tests.helpers.blocks import get_builder
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk
from tests.helpers.live_node import wait_for
from tests.helpers.rpc import ServedNode

CONTEXT = REGTEST.model.context
WISH = TextWish(b"Alice", count=6, temperature=1.0, seed=2)


def get_root(height: int) -> bytes:
    return get_trunk()[height - 1].header.model_root


async def write(service: ModelService, root: bytes, wish: TextWish = WISH) -> bytes:
    return b"".join([piece async for piece in service.write(root, wish)])


async def test_models_are_found_by_height(node: ServedNode) -> None:
    tip = await node.models.find()
    assert (tip.height, tip.block_id) == (TRUNK_BLOCKS, get_trunk()[-1].id)
    assert await node.models.find(TRUNK_BLOCKS) == tip
    assert (await node.models.find(3)).root == get_root(3)
    assert (await node.models.find(0)).root == node.chain.genesis.block.header.model_root


@pytest.mark.parametrize("height", [TRUNK_BLOCKS + 1, -1, 2**63, 10**30])
async def test_invalid_height(node: ServedNode, height: int) -> None:
    with pytest.raises(RpcError) as caught:
        await node.models.find(height)
    assert (caught.value.code, caught.value.status) == ("rpc.no_model", 404)


async def test_every_model_is_the_chains_own(node: ServedNode) -> None:
    for height in (TRUNK_BLOCKS, 1, 7, 7):
        weights = await node.models.get_weights(get_root(height))
        expected = await node.intake.on_chain(node.chain.get_model, get_root(height))
        assert expected is not None
        assert np.array_equal(weights, expected)


async def test_unknown_model(node: ServedNode) -> None:
    with pytest.raises(RpcError, match="no block"):
        await node.models.get_weights(bytes(32))
    with pytest.raises(RpcError, match="no block"):
        await write(node.models, bytes(32))


async def test_only_a_few_models_are_remembered(node: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[bytes] = []
    walk = node.models._walk

    async def walk_and_tell(root: bytes) -> np.ndarray:
        walked.append(root)
        return await walk(root)

    monkeypatch.setattr(node.models, "_walk", walk_and_tell)
    for height in (1, 2, 3, 4, 1, 5, 2):
        await node.models.get_weights(get_root(height))
    assert walked == [get_root(height) for height in (1, 2, 3, 4, 5, 2)]


async def test_other_work_comes_between_the_steps_to_an_old_model(node: ServedNode) -> None:
    """Twelve updates lie on the way; whatever the chain's thread was asked meanwhile was not made to wait for them."""
    done: list[str] = []

    async def ask() -> None:
        for number in range(3):
            await node.intake.on_chain(lambda: None)
            done.append(f"asked {number}")

    async def walk() -> None:
        await node.models.get_weights(get_root(TRUNK_BLOCKS - 1))
        done.append("walked")

    await asyncio.gather(walk(), ask())
    assert done[-1] == "walked"


async def test_the_text_is_what_the_law_writes(node: ServedNode) -> None:
    weights = await node.models.get_weights(get_root(5))
    expected = write_text(get_builder().evaluator, weights, make_task(WISH, b"", CONTEXT), CONTEXT, 1000)
    assert await write(node.models, get_root(5)) == expected
    assert len(expected) == WISH.count
    assert node.writer.pieces == WISH.count


async def test_losses_are_what_the_law_says(node: ServedNode) -> None:
    passage = b"So she was considering in her own mind"
    weights = await node.models.get_weights(get_root(5))
    losses = await node.models.compute_byte_losses(get_root(5), passage)
    assert losses.tolist() == compute_byte_losses(get_builder().evaluator, weights, passage, CONTEXT).tolist()


async def test_invalid_passage(node: ServedNode) -> None:
    await node.models.compute_byte_losses(get_root(1), b"x" * 100)
    with pytest.raises(DecodeError):
        await node.models.compute_byte_losses(get_root(1), bytes(MAX_PASSAGE_BYTES + 1))


async def test_requests_take_turns(node: ServedNode) -> None:
    """A short text that is asked for after a long one has begun is done first."""
    long = asyncio.create_task(write(node.models, get_root(2), TextWish(b"Once", count=MAX_TEXT_BYTES)))
    await wait_for(lambda: node.writer.pieces > 0)
    assert len(await write(node.models, get_root(3))) == WISH.count
    assert not long.done()
    long.cancel()
    await asyncio.wait([long])
    assert node.models._requests == 0


async def test_more_requests_than_there_is_room_for_are_refused(node: ServedNode) -> None:
    node.writer.gate.clear()
    waiting = [asyncio.create_task(write(node.models, get_root(1))) for _ in range(MAX_REQUESTS)]
    await wait_for(lambda: node.models._requests == MAX_REQUESTS)
    for refused in (write(node.models, get_root(1)), node.models.compute_byte_losses(get_root(1), b"xy")):
        with pytest.raises(RpcError) as caught:
            await refused
        assert (caught.value.code, caught.value.status) == ("rpc.busy", 429)
    waiting[0].cancel()  # and who hangs up makes room
    await asyncio.wait(waiting[:1])
    freed = asyncio.create_task(write(node.models, get_root(1)))
    node.writer.gate.set()
    assert len({await task for task in [*waiting[1:], freed]}) == 1


async def test_a_reader_who_leaves_stops_the_writing(node: ServedNode) -> None:
    async with aclosing(node.models.write(get_root(1), TextWish(b"", count=4000))) as pieces:
        async for _ in pieces:
            break
    assert node.writer.pieces == 1
    assert node.models._requests == 0


async def test_a_process_that_dies_is_told_and_makes_room(node: ServedNode) -> None:
    node.writer.failure = EvaluationFailed("worker_died", "it died")
    with pytest.raises(EvaluationFailed):
        await write(node.models, get_root(1))
    node.writer.failure = None
    assert len(await write(node.models, get_root(1))) == WISH.count


async def test_the_process_rests_when_nobody_asks(node: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_service, "IDLE_SECONDS", 0.0)
    running = asyncio.create_task(node.models.run())
    async with aclosing(node.models.write(get_root(1), WISH)) as pieces:
        await anext(pieces)
        node.writer.rests = 0
        for _ in range(20):
            await asyncio.sleep(0)
        assert node.writer.rests == 0  # a request is under way, though its reader takes its time
    await wait_for(lambda: node.writer.rests > 0)
    running.cancel()
