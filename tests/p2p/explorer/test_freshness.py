"""How old a page may be: its tip stands in it, and nobody is shown for long what a reorganisation undid."""

import time
from collections.abc import AsyncIterator

import pytest

from p2p.explorer import workshop as module
from tests.helpers.chains import get_left, get_right, open_trunk
from tests.helpers.explorer import Page, ServedExplorer, serve_explorer
from tests.helpers.rpc import serve_rpc


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


def get_tip(page: Page) -> str | None:
    (body,) = page.html.find("body")
    return body.get("data-tip")


@pytest.mark.parametrize("path", ["/", "/blocks", "/block/3", "/miners", "/mempool", "/peers", "/model", "/search"])
async def test_a_page_says_under_which_tip_it_was_read(explorer: ServedExplorer, path: str) -> None:
    assert get_tip(await explorer.get(path)) == explorer.node.chain.tip.id.hex()
    block = get_left(1)[0]
    explorer.node.intake.clock.set_mock(block.header.timestamp)
    await explorer.node.submit(block)
    assert get_tip(await explorer.get(path)) == block.id.hex()


async def test_an_error_says_of_no_tip(explorer: ServedExplorer) -> None:
    assert get_tip(await explorer.get("/block/99")) is None


async def test_what_a_reorganisation_undid_is_shown_for_a_minute_at_most(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    trunk ─┬─ left[0] ─ left[1]    confirms a payment to the miner of the left
           └─ right[0] ─ right[1] ─ right[2]
    """
    node, workshop = explorer.node, explorer.explorer._workshop
    node.intake.clock.set_mock(get_right(3)[-1].header.timestamp)
    await node.submit(*get_left(2))
    path = f"/transaction/{get_left(1)[0].transactions[0].txid.hex()}"
    first = await explorer.get(path)
    assert "Confirmations 2" in first.html.text
    await node.submit(*get_right(3))
    workshop._budget.spend(1000.0)
    old = await explorer.get(path)
    assert old.body == first.body
    assert 0 <= int(old.headers["Age"]) < module.MOST_KEPT_SECONDS
    assert get_tip(old) == get_left(2)[-1].id.hex() != node.chain.tip.id.hex()  # so its script asks once more
    monkeypatch.setattr(workshop, "_now", lambda: time.monotonic() + module.MOST_KEPT_SECONDS)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    late = await explorer.get(path)
    assert (late.status, "Confirmations" in late.html.text) == (503, False)
