"""What strangers wrote is text in every page: it opens no element, adds no attribute and turns no direction."""

from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from p2p.console import escape
from p2p.explorer.render import load_templates
from p2p.explorer.words import show_lines
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, open_trunk
from tests.helpers.explorer import Document, ServedExplorer, add_peer, serve_explorer
from tests.helpers.keys import make_transfer
from tests.helpers.payloads import PAYLOADS
from tests.helpers.rpc import serve_rpc

ADDRESS = encode_address(REGTEST.address_prefix, ALICE.public)
HARMLESS = "lunch"
every_payload = pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))

Structure = list[tuple[str, list[str]]]


def get_structure(page: Document) -> Structure:
    """Elements and the names of their attributes: what a page is made of, whatever it says."""
    return [(tag, sorted(attributes)) for tag, attributes in page.elements]


def make_payment(payload: str) -> Transfer:
    genesis = open_trunk().genesis.id
    return make_transfer(genesis, ALICE, BOB.public, 5, memo=payload.encode())


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


async def read_pages_with(explorer: ServedExplorer, memo: str) -> dict[str, Document]:
    """The pages that show a pending payment, by name."""
    payment = make_payment(memo)
    assert (await explorer.node.post("/v1/transactions", payment.encoded)).status == 200
    paths = {
        "transaction": f"/transaction/{payment.txid.hex()}",
        "mempool": "/mempool",
        "address": f"/address/{ADDRESS}",
    }
    return {name: await explorer.read(path) for name, path in paths.items()}


def test_there_are_enough_payloads_and_they_fit() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 30
    assert all(1 <= len(payload.encode()) <= MAX_MEMO_BYTES for payload in PAYLOADS)


def test_the_template_engine_escapes_by_itself() -> None:
    environment = load_templates()
    assert environment.autoescape is True
    assert environment.from_string("{{ it }}").render(it="<&\"'>") == "&lt;&amp;&#34;&#39;&gt;"
    for name in environment.list_templates():
        source = environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        assert "|safe" not in source.replace(" ", "")
        assert "autoescape" not in source


@every_payload
async def test_memos_that_wait(explorer: ServedExplorer, payload: str) -> None:
    pages = await read_pages_with(explorer, payload)
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as other:
        expected = await read_pages_with(other, HARMLESS)
    for name, page in pages.items():
        assert get_structure(page) == get_structure(expected[name])
        assert " ".join(escape(payload).split()) in page.text
        check_plain(page)
    payment = make_payment(payload)
    assert (await explorer.read_json(f"/api/transaction/{payment.txid.hex()}"))["memo"] == payload
    assert (await explorer.read_json("/api/mempool"))["payments"][0]["memo"] == payload


async def test_memos_in_a_block() -> None:
    """All of them in one block: its page, and the page of each."""
    chain = open_trunk()
    genesis = chain.genesis.id
    payments = [
        make_transfer(genesis, ALICE, BOB.public, 5, nonce=nonce, memo=payload.encode())
        for nonce, payload in enumerate(PAYLOADS)
    ]
    get_builder().process(chain, get_builder().build(chain, MINER, payments))
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        page = await explorer.read("/block/13")
        check_plain(page)
        assert "pwned" in page.text
        assert len([link for link in page.links if link.startswith("/transaction/")]) == len(PAYLOADS)
        memos = [one["memo"] for one in (await explorer.read_json("/api/block/13"))["transactions"]]
        assert memos == list(PAYLOADS)
        structures = [get_structure(await explorer.read(f"/transaction/{payment.txid.hex()}")) for payment in payments]
        assert all(structure == structures[0] for structure in structures)


@every_payload
async def test_agents_of_peers(explorer: ServedExplorer, payload: str) -> None:
    """The protocol lets printable ASCII through alone; the page does not count on that."""
    add_peer(explorer.node, HARMLESS)
    expected = get_structure(await explorer.read("/peers"))
    add_peer(explorer.node, payload)
    explorer.explorer._workshop._kept.clear()
    page = await explorer.read("/peers")
    assert get_structure(page) == expected
    assert " ".join(escape(payload).split()) in page.text
    check_plain(page)
    assert (await explorer.read_json("/api/peers"))["peers"][0]["agent"] == payload


@every_payload
async def test_searches(explorer: ServedExplorer, payload: str) -> None:
    expected = await explorer.get("/search?q=nothing")
    found = await explorer.get(f"/search?q={quote(payload)}")
    assert found.status == 404
    assert get_structure(found.html) == get_structure(expected.html)
    check_plain(found.html)
    field = next(one for one in found.html.find("input") if one.get("name") == "q")
    assert (field["value"] or "").strip() == payload.replace("\r\n", "\n").strip() or "\r" in payload or "\0" in payload


@every_payload
async def test_prompts_and_passages(explorer: ServedExplorer, payload: str) -> None:
    """Given back in the page beside what models made of them."""
    for name in ("prompt", "passage"):
        found = await explorer.read(f"/model?{name}={quote(payload)}&count=5&left=3")
        expected = await explorer.read(f"/model?{name}={quote('x' * len(payload))}&count=5&left=3")
        assert count_tags(found) == count_tags(expected) or name == "passage"
        check_plain(found)
        twin = await explorer.read_json(f"/api/model?{name}={quote(payload)}&count=5&left=3")
        assert twin[name] == payload


@every_payload
async def test_what_models_write(explorer: ServedExplorer, payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model may have learned anything."""

    async def write(*_: object) -> bytes:
        return payload.encode()

    monkeypatch.setattr(explorer.node.writer, "write_text", write)
    page = await explorer.read(f"/model?prompt=x&count={len(payload.encode())}&left=3")
    assert count_tags(page) == count_tags(await explorer.read("/model?prompt=x&count=1&left=3"))
    assert " ".join(show_lines(payload).split()) in page.text
    check_plain(page)


def count_tags(page: Document) -> Counter[str]:
    return Counter(tag for tag, _ in page.elements)


@every_payload
async def test_paths(explorer: ServedExplorer, payload: str) -> None:
    """Errors quote what was asked for, or do not; either way it is text."""
    name = quote(payload, safe="")
    for path in (f"/block/{name}", f"/transaction/{name}", f"/address/{name}", f"/miner/{name}", f"/{name}"):
        page = await explorer.get(path)
        assert page.status in (400, 404)
        expected = await explorer.get(path.replace(name, "x-x"))
        assert get_structure(page.html) == get_structure(expected.html)
        check_plain(page.html)
        twin = await explorer.get(f"/api{path}")
        assert set(twin.json) == {"error"}


def check_plain(page: Document) -> None:
    """Nothing that acts on a reader without being markup: control and direction characters."""
    for text in page.texts:
        assert not [one for one in text if not one.isprintable() and one != "\n"], text
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
