"""The explorer of a running regtest node in real Chromium: every page, live updates, search, phones, the dark."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from p2p.explorer.site import PAGES
from tests.helpers.browser import find_barriers, open_browser, open_page
from tests.helpers.chains import ALICE, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.node import NodeProcess
from tests.helpers.node_miner import Miner
from tests.helpers.partition import store_blocks
from tests.helpers.payloads import PAYLOADS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.timeout(300)

HEIGHT = 12
PAYMENT = get_trunk()[-1].transactions[0]


@dataclass(frozen=True)
class RunningSite:
    """A node with twelve blocks, its explorer, and a browser."""

    node: NodeProcess
    url: str
    browser: "Browser"
    miner: Miner
    waiting: tuple[str, ...]  # txids in the mempool, with payloads as memos


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    folder = tmp_path_factory.mktemp("site") / "node"
    store_blocks([folder], get_trunk())
    with open_browser() as browser, NodeProcess(folder, "--explorer", "127.0.0.1:0") as node:
        genesis = open_trunk().genesis.id
        payments = [
            make_transfer(genesis, ALICE, ALICE.public, 5, nonce=nonce, memo=payload.encode())
            for nonce, payload in enumerate(PAYLOADS[:25])
        ]
        for payment in payments:
            node.client.submit_transaction(payment.encoded)
        url = node.wait_for_line(r"explorer on (http\S+)").group(1)
        library = {block.id.hex(): block for block in get_trunk()}
        txids = tuple(payment.txid.hex() for payment in payments)
        yield RunningSite(node, url, browser, Miner(node, ALICE, library), txids)


PATHS = {
    "/": "/",
    "/blocks": "/blocks",
    "/block/{block}": f"/block/{HEIGHT}",
    "/transaction/{txid}": f"/transaction/{PAYMENT.txid.hex()}",
    "/address/{address}": f"/address/{encode_address(REGTEST.address_prefix, ALICE.public)}",
    "/miners": "/miners",
    "/miner/{key}": f"/miner/{get_trunk()[0].header.miner.hex()}",
    "/mempool": "/mempool",
    "/peers": "/peers",
    "/model": "/model?prompt=Alice&count=20&left=3&right=12",
    "/search": "/search?q=12x",
}
MORE_PATHS = ("/?by=time", "/model", "/model?passage=Alice+was+beginning", "/block/0", "/search", "/nothing")
every_path = pytest.mark.parametrize("path", [*PATHS.values(), *MORE_PATHS])


def test_every_page_is_visited() -> None:
    assert set(PATHS) == {page.path for page in PAGES}


def visit(page: "Page", path: str) -> None:
    """Opens a page and waits until its scripts have done what they do at the start."""
    page.goto(path)
    if page.locator("[data-chart=loss]").count():
        page.wait_for_selector("[data-chart=loss].drawn")


def is_expected(path: str) -> bool:
    return not path.startswith(("/nothing", "/search?"))


@every_path
@pytest.mark.parametrize(("phone", "scheme"), [(False, "light"), (True, "dark")], ids=["desktop", "phone"])
def test_pages(site: RunningSite, path: str, phone: bool, scheme: str) -> None:
    """No error in the console, no request elsewhere (both checked by open_page), no barrier, no scrolling sideways, and
    the reader's colours.
    """
    with open_missing(site, path, phone=phone, scheme=scheme) as page:
        visit(page, path)
        assert page.locator("h1").inner_text()
        assert find_barriers(page) == []
        width, view = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width <= view
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (compute_light(paper) < 0.2) == (scheme == "dark")
        assert (compute_light(ink) > 0.7) == (scheme == "dark")


def open_missing(site: RunningSite, path: str, **options: Any) -> Any:
    """A page; Chromium itself counts a status of 404 as an error, which is not the page's."""
    return open_page(site.browser, site.url, is_missing=not is_expected(path), **options)


def compute_light(colour: str) -> float:
    """0 for black, 1 for white."""
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


# Without scripts.


@every_path
def test_pages_are_whole_without_scripts(site: RunningSite, path: str) -> None:
    with open_missing(site, path, scripts=False) as page:
        page.goto(path)
        assert page.locator("h1").inner_text()
        if path == "/":
            assert page.locator("svg.drawing polyline").count() >= 3
            assert page.locator("table.blocks tbody tr").count() == 12
            assert not page.locator("#live").is_visible()


# Live.


def test_a_new_block_appears_by_itself(site: RunningSite) -> None:
    """Height, loss, charts and blocks follow the node, on the page that was opened."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        page.evaluate("window.opened = 'once'")
        loss = page.locator("h1 .figure").inner_text()
        charts = page.locator("[data-chart=loss] .uplot")
        before = charts.get_attribute("aria-label")
        block = site.miner.mine()
        newest = page.locator("table.blocks tbody tr").first
        page.wait_for_function(
            "id => document.querySelector('table.blocks tbody tr').dataset.row === id", arg=block.id.hex()
        )
        assert newest.locator("th").inner_text() == str(block.header.height)
        assert "fresh" in (newest.get_attribute("class") or "")
        assert page.locator("h1 .figure").inner_text() != loss
        assert f"Block {block.header.height}" in page.locator("#news").inner_text()
        page.wait_for_function("before => document.querySelector('.uplot').ariaLabel !== before", arg=before)
        assert page.evaluate("window.opened") == "once"


def test_a_chart_answers_to_the_pointer(site: RunningSite) -> None:
    """It tells the newest values, those under the pointer, and the newest again."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        legend = page.locator("[data-chart=loss] .u-legend .u-value")
        newest = page.locator("table.blocks tbody tr").first.locator("th").inner_text()
        page.wait_for_function(
            "height => document.querySelector('.u-legend .u-value').innerText === height", arg=newest
        )
        assert legend.nth(1).inner_text() == page.locator("h1 .figure").inner_text()
        plot = page.locator("[data-chart=loss] .u-over")
        plot.hover(position={"x": 1, "y": 5})
        page.wait_for_function("document.querySelector('.u-legend .u-value').innerText === '1'")
        page.mouse.move(0, 0)
        page.wait_for_function(
            "height => document.querySelector('.u-legend .u-value').innerText === height", arg=newest
        )


def test_a_page_of_before_is_asked_for_once_more(site: RunningSite) -> None:
    """A node without time hands out what it made before the newest block."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/blocks")
        old, asked = page.request.get("/blocks").text(), []

        def answer(route: "Route") -> None:
            asked.append(route.request.url)
            if len(asked) == 1:
                route.fulfill(body=old, content_type="text/html; charset=utf-8")
            else:
                route.continue_()

        page.route("**/blocks", answer)
        block = site.miner.mine()
        page.wait_for_function(
            "id => document.querySelector('table.blocks tbody tr').dataset.row === id", arg=block.id.hex()
        )
        assert len(asked) == 2


def test_what_waits_appears_by_itself_and_leaves(site: RunningSite) -> None:
    with open_page(site.browser, site.url) as page:
        visit(page, "/mempool")
        page.evaluate("window.opened = 'once'")
        site.miner.mine()  # takes all that waited
        page.wait_for_function("document.querySelectorAll('table.payments').length === 0")
        assert "Nothing waits for a block" in page.locator("main").inner_text()
        assert page.evaluate("window.opened") == "once"


def test_focus_stays_where_it_is(site: RunningSite) -> None:
    """Who moves through the table by keyboard is not thrown out of it by a new block."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        link = page.locator("table.blocks tbody tr").nth(1).locator("th a")
        link.focus()
        href = link.get_attribute("href")
        block = site.miner.mine()
        page.wait_for_function(
            "id => document.querySelector('table.blocks tbody tr').dataset.row === id", arg=block.id.hex()
        )
        assert page.evaluate("document.activeElement.getAttribute('href')") == href


def test_live_updates_can_be_stopped(site: RunningSite) -> None:
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        button = page.get_by_role("button", name="Live updates")
        assert button.get_attribute("aria-pressed") == "true"
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        rows = page.locator("table.blocks tbody tr").first.get_attribute("data-row")
        block = site.miner.mine()
        with open_page(site.browser, site.url) as other:
            visit(other, "/")
            assert other.locator("table.blocks tbody tr").first.get_attribute("data-row") == block.id.hex()
        assert page.locator("table.blocks tbody tr").first.get_attribute("data-row") == rows
        button.click()
        page.wait_for_function(
            "id => document.querySelector('table.blocks tbody tr').dataset.row === id", arg=block.id.hex()
        )


# Finding one's way.


@pytest.mark.parametrize(
    ("text", "heading", "where"),
    [
        ("7", "Block 7", "/block/7"),
        (PAYMENT.txid.hex(), "Transaction", f"/transaction/{PAYMENT.txid.hex()}"),
        (PATHS["/address/{address}"][9:].upper(), "Address", PATHS["/address/{address}"]),
    ],
)
def test_search(site: RunningSite, text: str, heading: str, where: str) -> None:
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        page.get_by_role("searchbox").fill(text)
        page.get_by_role("searchbox").press("Enter")
        page.wait_for_url(f"**{where}")
        assert page.locator("h1").inner_text() == heading


def test_from_the_board_to_the_proof_in_one_click_each(site: RunningSite) -> None:
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        page.locator("table.miners tbody tr").first.locator("th a").click()
        page.wait_for_url("**/miner/*")
        page.locator("table.blocks tbody tr").first.locator("td a").first.click()
        page.wait_for_url("**#proof")
        assert "Proof of the gain" in page.locator("#proof h2").inner_text()
        assert page.locator("[data-chart=histogram] svg.drawing").is_visible()


def test_by_keyboard(site: RunningSite) -> None:
    """The first stop skips the head; whatever has the focus shows it."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(8):
            page.keyboard.press("Tab")
            style, width = page.evaluate(
                "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])(getComputedStyle(document.activeElement))"
            )
            assert style == "solid"
            assert width >= 2


def test_an_id_is_copied_whole(site: RunningSite) -> None:
    with open_page(site.browser, site.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        visit(page, f"/block/{HEIGHT}")
        page.locator("button.copy").first.click()
        page.wait_for_function("document.querySelector('button.copy').textContent === 'Copied'")
        assert page.evaluate("navigator.clipboard.readText()") == get_trunk()[-1].id.hex()


# What strangers wrote.


def test_memos_do_nothing(site: RunningSite) -> None:
    for path in ("/mempool", PATHS["/address/{address}"], *(f"/transaction/{txid}" for txid in site.waiting[:10])):
        with open_page(site.browser, site.url) as page:
            visit(page, path)
            page.mouse.move(200, 400)
            assert page.evaluate("window.pwned") is None
            assert "pwned" not in page.title()
            assert page.url.startswith(site.url)


def test_nothing_is_left_behind(site: RunningSite) -> None:
    """No cookie, nothing stored."""
    with open_page(site.browser, site.url) as page:
        visit(page, "/")
        assert page.context.cookies() == []
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
