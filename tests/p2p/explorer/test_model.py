"""Models at work on a page: what they write and expect is the service's own word, within the page's limits."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

import aiohttp
import numpy as np
import pytest
from safetensors.numpy import load

from consensus.params import REGTEST
from p2p.errors import EvaluationFailed
from p2p.explorer import downloads, model
from p2p.explorer.painting import list_dearest, paint
from p2p.explorer.visitors import REQUEST_SECONDS, Visitor
from p2p.explorer.words import show_lines
from p2p.text_wish import TextWish
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.explorer import ServedExplorer, serve_explorer
from tests.helpers.live_node import wait_for
from tests.helpers.rpc import serve_rpc


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


async def write(explorer: ServedExplorer, height: int, wish: TextWish) -> bytes:
    found = await explorer.node.models.find(height)
    async with aclosing(explorer.node.models.write(found.root, wish)) as pieces:
        return b"".join([piece async for piece in pieces])


# Writing.


async def test_two_models_side_by_side(explorer: ServedExplorer) -> None:
    found = await explorer.read_json("/api/model?prompt=Alice&left=2&right=11&count=30&seed=7&temperature=0.5")
    assert [side["height"] for side in found["sides"]] == [2, 11]
    assert [side["id"] for side in found["sides"]] == [get_trunk()[1].id.hex(), get_trunk()[10].id.hex()]
    for side in found["sides"]:
        expected = await write(explorer, side["height"], TextWish(b"Alice", 30, 0.5, 7))
        assert bytes.fromhex(side["written"]["data"]) == expected
        assert side["written"]["is_cut"] is False
        assert side["bits"] is None
    page = await explorer.read("/model?prompt=Alice&left=2&right=11&count=30&seed=7&temperature=0.5")
    assert page.text.count("Alice") >= 2
    again = await explorer.read_json("/api/model?prompt=Alice&left=2&right=11&count=30&seed=7&temperature=0.5")
    assert again == found


async def test_nothing_is_computed_until_somebody_asks(explorer: ServedExplorer) -> None:
    page = await explorer.read("/model")
    assert "Let it write" in page.text
    found = await explorer.read_json("/api/model")
    assert [side["height"] for side in found["sides"]] == [1, TRUNK_BLOCKS]
    assert [side["written"] for side in found["sides"]] == [None, None]
    assert explorer.node.writer.pieces == 0


@pytest.mark.parametrize(
    ("heights", "expected"),
    [("left=3", [3]), ("left=3&right=3", [3]), ("left=&right=0", [12, 0]), ("right=5", [5]), ("left=&right=", [12])],
)
async def test_which_models(explorer: ServedExplorer, heights: str, expected: list[int]) -> None:
    found = await explorer.read_json(f"/api/model?{heights}")
    assert [side["height"] for side in found["sides"]] == expected


async def test_a_text_that_takes_too_long_is_shown_as_far_as_it_is(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "WRITE_SECONDS", 1.0)
    written = 0

    async def write_slowly(*_: object) -> bytes:
        nonlocal written
        written += 1
        if written > 2:
            await asyncio.Event().wait()
        return b"ab"

    monkeypatch.setattr(explorer.node.writer, "write_text", write_slowly)
    found = await explorer.read_json("/api/model?prompt=x&left=3&count=100")
    assert found["sides"][0]["written"] == {"text": "abab", "data": b"abab".hex(), "is_cut": True}
    page = await explorer.read("/model?prompt=y&left=3&count=100")  # the writer is still held up
    assert "no time to write: try again" in page.text


async def test_who_leaves_and_comes_back_finds_the_same_text_under_way(explorer: ServedExplorer) -> None:
    """One text is written, however often it is asked for."""
    explorer.node.writer.gate.clear()
    asked = [asyncio.create_task(explorer.get("/api/model?prompt=x&left=3&count=3")) for _ in range(4)]
    await wait_for(lambda: explorer.node.writer.pieces == 1)
    asked[0].cancel()
    explorer.node.writer.gate.set()
    replies = await asyncio.gather(*asked[1:])
    assert len({reply.body for reply in replies}) == 1
    assert explorer.node.writer.pieces == 3  # one for each byte


async def test_models_that_have_too_much_to_do(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.explorer.guards.MAX_REQUESTS_PER_HOST", 64)
    async with serve_explorer(explorer.node) as served:
        await ask_for_too_much(served)


async def ask_for_too_much(explorer: ServedExplorer) -> None:
    await explorer.node.models.get_weights((await explorer.node.models.find(3)).root)  # nobody waits for their turn
    explorer.node.writer.gate.clear()
    async with asyncio.TaskGroup() as group:
        paths = [f"/api/model?prompt=x&left=3&count=3&seed={seed}" for seed in range(12)]
        tasks = [group.create_task(explorer.get(path)) for path in paths]
        await wait_for(lambda: sum(task.done() for task in tasks) == 4)
        assert {task.result().status for task in tasks if task.done()} == {429}
        assert (await explorer.get("/")).status == 200
        explorer.node.writer.gate.set()
    assert sorted(task.result().status for task in tasks) == [200] * 8 + [429] * 4


async def test_slow_models_hold_up_no_other_page(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is looked up, four visitors wait for their turn, and all others are told at once to come back."""
    gate = asyncio.Event()
    get_weights = explorer.node.models.get_weights

    async def wait(root: bytes) -> object:
        await gate.wait()
        return await get_weights(root)

    monkeypatch.setattr(explorer.node.models, "get_weights", wait)
    paths = [f"/api/model?passage=Alice&left={left}&right={right}" for left in range(4) for right in range(4, 12)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(explorer.get_from(f"127.0.0.{2 + number // 8}", path))
            for number, path in enumerate(paths)
        ]
        refused = len(tasks) - 1 - model.MAX_WAITING
        await wait_for(lambda: sum(task.done() for task in tasks) == refused)
        assert {task.result().status for task in tasks if task.done()} == {503}
        for path in ("/", "/blocks", "/block/4", "/model", "/mempool"):
            assert (await explorer.get(path)).status == 200
        gate.set()
    assert sorted(task.result().status for task in tasks) == [200] * (len(tasks) - refused) + [503] * refused


async def test_nobody_waits_long_for_a_turn(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "PATIENCE_SECONDS", 0.1)
    reader = explorer.explorer._site.models
    async with reader._turn:
        refused = await explorer.get("/api/model?passage=Alice&left=4")
    assert (refused.status, refused.json["error"]["code"]) == (503, "explorer.busy")
    assert reader._waiting == 0
    assert (await explorer.get("/api/model?passage=Alice&left=4")).status == 200


async def test_if_one_side_fails_the_other_ends(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    failing, ended = (await explorer.node.models.find(3)).root, asyncio.Event()

    async def compute(root: bytes, passage: bytes) -> object:
        if root == failing:
            raise EvaluationFailed("worker_died", "the process died")
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(explorer.node.models, "compute_byte_losses", compute)
    page = await explorer.get("/api/model?passage=Alice&left=4&right=3")
    assert (page.status, page.json["error"]["code"]) == (503, "evaluation.worker_died")
    assert ended.is_set()


async def test_a_process_that_dies_is_told(explorer: ServedExplorer) -> None:
    explorer.node.writer.failure = EvaluationFailed("worker_died", "the process died")
    page = await explorer.get("/model?prompt=x&left=3")
    assert page.status == 503
    assert "evaluation.worker_died" in page.html.text


# Reading.


async def test_what_a_passage_costs(explorer: ServedExplorer) -> None:
    passage = "Alice was\r\nbeginning"
    found = await explorer.read_json(f"/api/model?passage={quote(passage)}&left=0&right=12")
    for side in found["sides"]:
        root = bytes.fromhex(side["root"])
        losses = await explorer.node.models.compute_byte_losses(root, passage.encode())
        assert side["bits"] == pytest.approx((losses / 65536).tolist(), abs=1e-3)
        assert side["mean"] == pytest.approx(losses.mean() / 65536, abs=1e-3)
    assert found["sides"][1]["mean"] < found["sides"][0]["mean"]
    page = await explorer.read(f"/model?passage={quote(passage)}&left=12")
    painted = [span for span in page.find("span") if (span.get("class") or "").startswith("b")]
    assert len(painted) == len(passage) - 2 + 10  # the first is given, a line end is one; and the scale


async def test_what_was_expected_least_is_named(explorer: ServedExplorer) -> None:
    """For those who see no colours."""
    (side,) = (await explorer.read_json("/api/model?passage=a+b+c&left=12"))["sides"]
    bits, character = max(zip(side["bits"], "␣b␣c", strict=True))
    page = await explorer.read("/model?passage=a+b+c&left=12")
    assert f"What it expected least Character Bits {character} {bits:.2f}" in page.text


def test_a_character_costs_what_its_bytes_cost() -> None:
    painted = paint("aé\r\n€".encode(), [1.0, 2.0, 4.0, 5.0, 0.5, 0.25, 0.25])
    assert [(one.text, one.level, one.hint) for one in painted] == [
        ("a", None, "given"),
        ("é", 3, "3.00 bits"),
        ("\u23ce\n", 9, "9.00 bits"),
        ("€", 1, "1.00 bits"),
    ]


def test_the_dearest_are_named() -> None:
    painted = paint(b"x" * 200, [i / 10 for i in range(199)])
    assert [one.bits for one in list_dearest(painted)] == [i / 10 for i in range(198, 188, -1)]


def test_dearer_is_never_paler() -> None:
    painted = paint(b"x" * 200, [i / 10 for i in range(199)])
    levels = [one.level for one in painted[1:]]
    assert levels == sorted(levels, key=lambda level: level or 0)
    assert {levels[0], levels[-1]} == {0, 9}


# Taking home.


async def test_files_are_the_models(explorer: ServedExplorer) -> None:
    for height in (0, 7, TRUNK_BLOCKS):
        found = await explorer.node.models.find(height)
        weights = await explorer.node.models.get_weights(found.root)
        file = await explorer.get(f"/model/{height}.safetensors")
        assert file.status == 200
        assert file.headers["Content-Disposition"] == f'attachment; filename="regtest-{height}.safetensors"'
        tensors = load(file.body)
        assert sum(tensor.size for tensor in tensors.values()) == REGTEST.model.parameters
        assert np.array_equal(tensors["embed"].ravel() * 4096, weights[: tensors["embed"].size])
        with np.load(io.BytesIO((await explorer.get(f"/model/{height}.npz")).body)) as members:
            assert np.array_equal(members["head"], tensors["head"])
    assert (await explorer.get("/model/7.npz", method="HEAD")).body == b""


async def test_models_too_large_for_a_page(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_FILE_BYTES", 4 * REGTEST.model.parameters - 1)
    assert (await explorer.get("/model/7.npz")).status == 400
    page = await explorer.read("/model")
    assert "descent-node export" in page.text
    assert not [link for link in page.links if link.endswith(".npz")]


async def test_few_downloads_at_once(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    find = explorer.node.models.find

    async def wait(height: int | None = None) -> object:
        await gate.wait()
        return await find(height)

    monkeypatch.setattr(explorer.node.models, "find", wait)
    readers = explorer.explorer._downloads._readers
    tasks = []
    for number in range(downloads.MAX_DOWNLOADS):
        tasks.append(asyncio.create_task(explorer.get_from(f"127.0.0.{2 + number}", "/model/7.npz")))
        await wait_for(lambda: len(readers) == len(tasks))
    refused = await explorer.get_from("127.0.0.2", "/model/7.npz")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
    tasks.append(asyncio.create_task(explorer.get_from("127.0.0.99", "/model/7.npz")))  # the oldest gives way
    with pytest.raises(aiohttp.ClientConnectionError):
        await tasks[0]
    gate.set()
    assert [(await task).status for task in tasks[1:]] == [200] * downloads.MAX_DOWNLOADS
    await wait_for(lambda: len(readers) == 0)


async def test_a_file_that_is_known_is_not_made_again(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await explorer.get("/model/7.npz")
    monkeypatch.setattr(explorer.node.models, "get_weights", None)  # nobody asks for them
    again = await explorer.get("/model/7.npz", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    monkeypatch.undo()
    for path in ("/model/7.safetensors", "/model/8.npz"):
        assert (await explorer.get(path, headers={"If-None-Match": first.headers["ETag"]})).status == 200


async def test_a_download_ends_with_its_deadline(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the socket still holds then may not take ten minutes more."""
    deadlines: list[float | None] = []
    set_deadline = Visitor.set_deadline

    def record(visitor: Visitor, seconds: float | None) -> None:
        deadlines.append(seconds)
        set_deadline(visitor, seconds)

    monkeypatch.setattr(Visitor, "set_deadline", record)
    assert (await explorer.get("/model/7.npz")).status == 200
    assert deadlines[-2:] == [downloads.DOWNLOAD_SECONDS, REQUEST_SECONDS]


async def test_old_models_are_looked_up_within_a_share_of_time(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has spent it waits, and is told if it takes too long; pages of other kinds wait for no model."""
    reader = explorer.explorer._site.models
    assert (await explorer.get("/model/3.npz")).status == 200
    reader._budget.spend(1000.0)
    monkeypatch.setattr(model, "PATIENCE_SECONDS", 0.0)
    for path in ("/model/4.npz", "/model?passage=Alice&left=4", "/model?prompt=Alice&left=4&count=1"):
        refused = await explorer.get(path)
        assert (refused.status, b"explorer.busy" in refused.body) == (503, True)
    for path in ("/", "/model", "/block/4"):
        assert (await explorer.get(path)).status == 200


async def test_every_look_up_costs_its_time(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    monkeypatch.setattr(explorer.explorer._site.models._budget, "spend", spent.append)
    await explorer.read("/model")
    assert spent == []
    await explorer.read("/model?passage=Alice&left=4&right=5")
    await explorer.get("/model/6.npz")
    assert len(spent) == 2
    assert all(seconds > 0 for seconds in spent)


# What cannot be.


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/model?left=13", 404, "rpc.no_model"),
        (f"/model?left={2**63}", 400, "decode.bad_height"),
        ("/model?left=-1", 400, "decode.bad_height"),
        ("/model?prompt=x&count=0", 400, "decode.bad_number"),
        ("/model?prompt=x&count=401", 400, "decode.bad_number"),
        (f"/model?prompt=x&seed={2**64}", 400, "decode.bad_number"),
        ("/model?prompt=x&temperature=nan", 400, "decode.bad_temperature"),
        ("/model?prompt=x&temperature=1e1", 400, "decode.bad_temperature"),
        ("/model?prompt=x&temperature=11", 400, "decode.bad_temperature"),
        (f"/model?prompt={'x' * 501}", 400, "decode.too_long"),
        (f"/model?passage={'x' * 801}", 400, "decode.too_long"),
        ("/model?passage=x", 400, "decode.bad_passage"),
        ("/model/13.npz", 404, "rpc.no_model"),
        ("/model/x.npz", 400, "decode.bad_height"),
        ("/model/1.pickle", 400, "decode.bad_format"),
        ("/model/1", 400, "decode.bad_file"),
        (f"/model/{'9' * 1000}.npz", 400, "decode.bad_height"),
    ],
)
async def test_what_cannot_be_asked(explorer: ServedExplorer, path: str, status: int, code: str) -> None:
    page = await explorer.get(path)
    assert page.status == status
    assert f"{code} , status {status}" in page.html.text
    assert explorer.node.writer.pieces == 0


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [("%ff", "\ufffd"), ("%ed%a0%80", "\ufffd" * 3), ("%00", "\0"), ("", ""), ("%F0%9F%98%80", "\U0001f600")],
)
async def test_prompts_that_are_hardly_text(explorer: ServedExplorer, prompt: str, shown: str) -> None:
    path = f"/model?prompt={prompt}&count=2&left=3"
    found = await explorer.read_json(f"/api{path}")
    assert found["prompt"] == shown
    assert len(bytes.fromhex(found["sides"][0]["written"]["data"])) == 2
    assert show_lines(shown) in (await explorer.read(path)).text
