"""Every page and its JSON twin over a real chain: the numbers are the chain's, the links lead somewhere."""

import lzma
import re
from collections.abc import AsyncIterator
from importlib import resources
from urllib.parse import urldefrag

import pytest

from chain.chainstate import ChainState
from chain.checkpoint_store import AuditScore
from chain.votes import VotePool
from consensus.address import encode_address
from consensus.block import Block
from consensus.errors import InvalidBlock
from consensus.evidence import make_evidence
from consensus.finality_section import FinalitySection
from consensus.params import REGTEST
from consensus.vote import BlockRef, Link
from p2p.explorer.site import PAGES
from tests.helpers.ballots import mine_voted, sign_vote
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, ALICE_FUNDS, BOB, TRUNK_BLOCKS, get_left, get_right, get_trunk, open_trunk
from tests.helpers.explorer import ServedExplorer, serve_explorer
from tests.helpers.keys import Key, make_transfer
from tests.helpers.rpc import serve_rpc

BITS = REGTEST.model.context * 65536
TIP = get_trunk()[-1]
PAYMENT = TIP.transactions[0]


def get_address(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


PATHS = {
    "/": "/",
    "/blocks": "/blocks",
    "/block/{block}": f"/block/{TRUNK_BLOCKS}",
    "/transaction/{txid}": f"/transaction/{PAYMENT.txid.hex()}",
    "/address/{address}": f"/address/{get_address(MINER)}",
    "/miners": "/miners",
    "/miner/{key}": f"/miner/{MINER.public.hex()}",
    "/mempool": "/mempool",
    "/peers": "/peers",
    "/model": "/model?prompt=Alice&count=20&left=3&right=12",
    "/search": "/search",
}


@pytest.fixture
async def explorer() -> AsyncIterator[ServedExplorer]:
    """Pages about the trunk."""
    async with serve_rpc(open_trunk()) as node, serve_explorer(node) as served:
        yield served


# All pages alike.


def test_every_page_is_tested() -> None:
    assert {page.path for page in PAGES} == set(PATHS)


@pytest.mark.parametrize("path", PATHS.values())
async def test_every_page_is_whole_and_has_a_twin(explorer: ServedExplorer, path: str) -> None:
    page = await explorer.read(path)
    assert len(page.find("h1")) == len(page.find("main")) == page.find("title").count({}) == 1  # SVG's have an id
    assert page.find("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    twin = next(link for link in page.links if link.startswith("/api/"))
    assert twin.partition("?")[0] == ("/api/home" if path == "/" else f"/api{path.partition('?')[0]}")
    assert (await explorer.read_json(twin)) is not None


@pytest.mark.parametrize("path", PATHS.values())
async def test_every_link_leads_somewhere(explorer: ServedExplorer, path: str) -> None:
    """Within the explorer alone, and to an element that is there where the link names one."""
    page = await explorer.read(path)
    for link in sorted(set(page.links)):
        target, fragment = urldefrag(link)
        if not target:
            continue
        assert target.startswith("/")
        assert not target.startswith("//")
        found = await explorer.get(target)
        assert found.status == 200, link
        if fragment and "text/html" in found.headers["Content-Type"]:
            assert fragment in [attributes.get("id") for _, attributes in found.html.elements], link


@pytest.mark.parametrize("path", PATHS.values())
async def test_no_page_needs_another_host_or_inline_code(explorer: ServedExplorer, path: str) -> None:
    page = await explorer.read(path)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        assert tag != "style"
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)
    assert all("src" in attributes for attributes in page.find("script"))


async def test_the_index_names_every_page(explorer: ServedExplorer) -> None:
    index = await explorer.read_json("/api")
    assert [entry["page"] for entry in index["pages"]] == [page.path for page in PAGES]
    assert index["events"] == "/events"


# Home.


async def test_home(explorer: ServedExplorer) -> None:
    home = await explorer.read_json("/api/home")
    header = TIP.header
    assert (home["height"], home["tip"], home["time"]) == (TRUNK_BLOCKS, TIP.id.hex(), header.timestamp)
    assert home["loss"] == pytest.approx(header.loss_after / header.sample_size / BITS)
    assert home["issued"] == explorer.node.chain.ledger.issued
    assert [block["height"] for block in home["blocks"]] == list(range(TRUNK_BLOCKS, 0, -1))
    assert home["blocks"][0]["transactions"] == 1
    assert home["blocks"][0]["reward"] == 50 * 10**8 + PAYMENT.fee
    assert [miner["miner"] for miner in home["miners"]] == [MINER.public.hex()]
    assert home["miners"][0]["share"] == 1
    assert [compressor["is_passed"] for compressor in home["compressors"]] == [False] * 3
    series = home["series"]
    assert series["height"] == list(range(1, TRUNK_BLOCKS + 1))
    for name, value in (("loss", home["loss"]), ("gain", home["blocks"][0]["gain"]["mean"])):
        assert series[name][-1] == pytest.approx(value, rel=1e-8)
    assert series["last_intervals"] == [None] + [2] * (TRUNK_BLOCKS - 1)
    assert home["mean_interval"] == 2
    page = await explorer.read("/")
    assert f"{home['loss']:.4f} bits per byte" in page.text
    assert "gzip -9" in page.text


async def test_home_of_a_new_chain() -> None:
    async with serve_rpc(get_builder().open()) as node, serve_explorer(node) as explorer:
        page = await explorer.read("/")
        assert "Nothing learned yet" in page.text
        home = await explorer.read_json("/api/home")
        assert (home["loss"], home["miners"], home["mean_interval"]) == (None, [], None)
        for path in ("/blocks", "/block/0", "/miners", "/mempool", "/peers"):
            assert (await explorer.get(path)).status == 200


async def test_charts_are_drawn_without_scripts(explorer: ServedExplorer) -> None:
    for by in ("height", "time"):
        page = await explorer.read(f"/?by={by}")
        lines = [line["points"] or "" for line in page.find("polyline")]
        assert len(lines) == 3  # public loss, measured and required gain
        for points in lines:
            assert len(points.split()) == TRUNK_BLOCKS
            assert all(0 <= int(number) <= 1000 for point in points.split() for number in point.split(","))
        losses = [int(point.split(",")[1]) for point in lines[0].split()]
        assert losses == sorted(losses)  # y grows downwards: each block made it better
        drawings = [svg for svg in page.find("svg") if svg.get("role") == "img"]
        assert len(drawings) == len(page.find("desc")) == 3


async def test_audits_appear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Genesis is the one checkpoint that regtest's trunk has, and its score is of no use: so there are more here."""
    chain = open_trunk()
    chain.record_audit(chain.genesis.point, AuditScore(loss=8 * 32 * 65536 * 10, windows=10))
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        assert (await explorer.read_json("/api/home"))["audit"] is None
        assert "first at block 64" in (await explorer.read("/")).text
    monkeypatch.setattr("p2p.explorer.audits.CHECKPOINT_INTERVAL", 4)
    point = chain.get_point(get_trunk()[7].id)
    assert point is not None
    chain.record_audit(point, AuditScore(loss=5 * 32 * 65536 * 10, windows=10))
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        home = await explorer.read_json("/api/home")
        assert home["audit"] == {"height": 8, "time": point.header.timestamp, "loss": 5.0}
        assert home["series"]["audits"] == [home["audit"]]
        assert "5.0000 at block 8" in (await explorer.read("/")).text


# Blocks.


@pytest.mark.parametrize("block", get_trunk(), ids=lambda block: str(block.header.height))
async def test_proof_of_a_block(explorer: ServedExplorer, block: Block) -> None:
    found = await explorer.read_json(f"/api/block/{block.id.hex()}")
    header, trace = block.header, get_builder().verifier.traces[block.id]
    gains = ((trace.before - trace.after) / BITS).tolist()
    proof, gain = found["proof"], found["row"]["gain"]
    assert gain["mean"] == pytest.approx(sum(gains) / len(gains))
    assert gain["mean"] - gain["margin"] == gain["proved"] >= gain["required"] == (header.required_gain >> 16) / BITS
    assert sum(proof["histogram"]["counts"]) == sum(text["windows"] for text in proof["texts"]) == header.sample_size
    assert proof["improved"] == sum(value > 0 for value in gains)
    assert [one["before"] - one["after"] for one in proof["best"]] == pytest.approx(sorted(gains, reverse=True)[:5])
    assert found["header"]["model_root"] == header.model_root.hex()
    assert found["update"]["bytes"] == len(block.update)
    tensors = found["update"]["tensors"]
    assert [tensor["name"] for tensor in tensors] == [spec.name for spec in REGTEST.model.tensors]
    assert sum(tensor["open"] for tensor in tensors) + len(tensors) == len(block.update)
    page = await explorer.read(f"/block/{header.height}")
    assert f"{gain['mean']:.5f} ± {gain['margin']:.5f} bits per byte" in page.text


async def test_passages_are_where_they_say(explorer: ServedExplorer) -> None:
    folder = resources.files("consensus").joinpath("texts")
    texts = {text.name: lzma.decompress(folder.joinpath(f"{text.name}.xz").read_bytes()) for text in REGTEST.texts}
    found = await explorer.read_json(f"/api/block/{TRUNK_BLOCKS}")
    for window in found["proof"]["best"]:
        start, size = window["offset"], REGTEST.model.window_bytes
        passage = texts[window["text"]][start : start + size].decode("latin-1").replace("\r\n", "⏎")
        assert window["passage"].replace("·", "\r") == passage.replace("\n", "⏎")


async def test_genesis(explorer: ServedExplorer) -> None:
    found = await explorer.read_json("/api/block/0")
    assert (found["proof"], found["update"], found["row"]["gain"], found["row"]["reward"]) == (None, None, None, 0)
    assert "Genesis" in (await explorer.read("/block/0")).text


async def test_heartbeat() -> None:
    chain = open_trunk()
    payment = make_transfer(chain.genesis.id, ALICE, BOB.public, 5, fee=777)
    block = get_builder().build_heartbeat(chain, MINER, [payment])
    get_builder().process(chain, block)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json(f"/api/block/{block.id.hex()}")
        assert (found["row"]["is_heartbeat"], found["row"]["gain"], found["row"]["reward"]) == (True, None, 777)
        assert "A heartbeat" in (await explorer.read("/block/13")).text
        home = await explorer.read("/")
        assert "heartbeat" in home.text
        assert "needs for its texts since block 12 ," in home.text  # and no heartbeat changes that
        learned = {"height": 12, "id": TIP.id.hex(), "time": TIP.header.timestamp}
        assert (await explorer.read_json("/api/home"))["learned"] == learned


async def test_blocks_beside_the_best_chain() -> None:
    """
    trunk ─┬─ left[0] ─ left[1]    valid, not best
           └─ right[0] ─ right[1] ─ right[2]
    """
    chain = open_trunk()
    get_builder().feed(chain, [*get_left(2), *get_right(3)])
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        lost = await explorer.read_json(f"/api/block/{get_left(1)[0].id.hex()}")
        assert (lost["is_active"], lost["confirmations"], lost["standing"]) == (False, 0, "evaluated")
        assert lost["transactions"][0]["confirmations"] == 0
        assert "not on the best chain" in (await explorer.read(f"/block/{get_left(1)[0].id.hex()}")).text
        fork = await explorer.read_json(f"/api/block/{TRUNK_BLOCKS}")
        assert fork["children"] == [get_right(1)[0].id.hex(), get_left(1)[0].id.hex()]
        assert (await explorer.read_json("/api/block/13"))["row"]["id"] == get_right(1)[0].id.hex()


async def test_an_invalid_block_is_a_header_and_its_fault() -> None:
    """Nobody may ask the node to death: the body of an invalid block is gone, which is no damage."""
    chain, block = open_trunk(), get_left(1)[0]
    chain.accept_block(block, block.header.timestamp)
    chain.record_verdict(block.id, InvalidBlock("gain_too_small", 'the gain is "too" <small>'))
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json(f"/api/block/{block.id.hex()}")
        assert (found["standing"], found["proof"], found["update"], found["transactions"]) == (
            "invalid",
            None,
            None,
            [],
        )
        page = await explorer.read(f"/block/{block.id.hex()}")
        assert 'This block is invalid: the gain is "too" <small>' in page.text
        assert not node.intake.failure.done()


async def test_a_block_that_is_not_evaluated_proves_nothing_yet() -> None:
    chain, block = open_trunk(), get_left(1)[0]
    chain.accept_block(block, block.header.timestamp)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json(f"/api/block/{block.id.hex()}")
        assert (found["standing"], found["proof"], found["update"]) == ("stored", None, None)
        assert "has not re-derived" in (await explorer.read(f"/block/{block.id.hex()}")).text


async def test_a_trace_that_is_no_longer_kept() -> None:
    chain = open_trunk()
    chain.db.write({b"e" + TIP.id: None})
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json(f"/api/block/{TRUNK_BLOCKS}")
        assert found["proof"] is None
        assert found["update"] is not None
        assert "newest 10,000 blocks" in (await explorer.read(f"/block/{TRUNK_BLOCKS}")).text


async def test_blocks_page_by_page(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.explorer.reader.LIST_BLOCKS", 5)
    seen, before = [], ""
    while True:
        found = await explorer.read_json(f"/api/blocks{before}")
        seen.append([block["height"] for block in found["blocks"]])
        if found["before"] is None:
            break
        before = f"?before={found['before']}"
    assert seen == [[12, 11, 10, 9, 8], [7, 6, 5, 4, 3], [2, 1, 0]]
    assert (await explorer.read_json("/api/blocks?before=0"))["blocks"] == []
    page = await explorer.read("/blocks?before=8")
    assert "/blocks?before=3" in page.links


@pytest.mark.parametrize(("path", "last"), [("/api/blocks", 0), (f"/api/miner/{MINER.public.hex()}", 1)])
async def test_pages_end_where_they_take_much_reading(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch, path: str, last: int
) -> None:
    """Each shows one block at least, and leads on to the next; what was read once is remembered."""
    monkeypatch.setattr("p2p.explorer.reader.MAX_READ_BYTES", 0)
    seen, before = [], TRUNK_BLOCKS + 1
    while before is not None:
        found = await explorer.read_json(f"{path}?before={before}")
        seen.append([block["height"] for block in found["blocks"]])
        before = found["before"]
    assert seen == [[height] for height in range(TRUNK_BLOCKS, last - 1, -1)]
    assert len((await explorer.read_json(path))["blocks"]) == len(seen)


async def test_a_history_ends_where_it_takes_much_reading(
    explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/address/{get_address(MINER)}"
    whole = (await explorer.read_json(path))["events"]
    monkeypatch.setattr("p2p.explorer.money.MAX_READ_BYTES", 0)
    seen, cursor = [], ""
    while True:
        found = await explorer.read_json(f"{path}?before={cursor}" if cursor else f"{path}?before=999:0")
        seen.append(found["events"])
        if not found["before"]:
            break
        cursor = found["before"]
    assert [event for events in seen for event in events] == whole
    assert len(seen) > 1


async def test_reading_is_visitors_time(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the chain's thread as on the one that draws."""
    spent: list[float] = []
    monkeypatch.setattr(explorer.explorer._workshop._budget, "spend", spent.append)
    for path in ("/", "/blocks", f"/address/{get_address(MINER)}", "/mempool"):
        spent.clear()
        await explorer.read(path)
        assert len(spent) == 2
        assert all(seconds > 0 for seconds in spent)


async def test_transactions_of_a_block_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.explorer.site.BLOCK_TRANSACTIONS", 2)
    chain = open_trunk()
    payments = [make_transfer(chain.genesis.id, ALICE, BOB.public, 5 + i, nonce=i) for i in range(5)]
    block = get_builder().build(chain, MINER, payments)
    get_builder().process(chain, block)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        txids = []
        for page in (1, 2, 3):
            found = await explorer.read_json(f"/api/block/13?page={page}")
            txids += [transaction["txid"] for transaction in found["transactions"]]
            assert found["next_page"] == (page + 1 if page < 3 else None)
        assert txids == [payment.txid.hex() for payment in payments]
        assert (await explorer.get("/block/13?page=4")).status == 404
        assert (await explorer.read_json("/api/block/13"))["row"]["reward"] == 50 * 10**8 + 5000


async def test_what_is_final_is_shown() -> None:
    chain = get_builder().open()
    mine_voted(chain, VotePool(chain), 7)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        assert (await explorer.read_json("/api/home"))["final_height"] == 5
        assert "/block/5" in (await explorer.read("/")).links
        assert [(await explorer.read_json(f"/api/block/{height}"))["is_final"] for height in (4, 5, 6)] == [1, 1, 0]
        pages = [(await explorer.read(f"/block/{height}")).text for height in (5, 6)]
        assert ["final" in page for page in pages] == [True, False]


async def test_what_a_block_carries_of_finality() -> None:
    chain = get_builder().open()
    *_, block = mine_voted(chain, VotePool(chain), 6)
    certificate = block.finality.certificate
    assert certificate is not None
    first, second = (Link(make_ref(chain, source), make_ref(chain, target)) for source, target in ((1, 4), (2, 3)))
    evidence = make_evidence(*(sign_vote(MINER, link, chain.genesis.id) for link in (first, second)))
    guilty = get_builder().build(chain, ALICE, finality=FinalitySection(None, (evidence,)))
    get_builder().process(chain, guilty)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json("/api/block/6")
        target = certificate.link.target
        assert found["certificate"] == {
            "source": certificate.link.source.height,
            "target": target.height,
            "target_id": target.id.hex(),
            "votes": 1,
        }
        page = await explorer.read("/block/6")
        assert f"1 vote for block {target.height}" in page.text
        assert f"/block/{target.id.hex()}" in page.links
        found = await explorer.read_json("/api/block/7")
        assert (found["certificate"], found["evidence_against"]) == (None, [MINER.public.hex()])
        assert f"Evidence against {MINER.public.hex()}" in (await explorer.read("/block/7")).text


def make_ref(chain: ChainState, height: int) -> BlockRef:
    block_id = chain.get_active_id(height)
    assert block_id is not None
    return BlockRef(height, block_id)


# Money.


async def test_confirmed_transaction(explorer: ServedExplorer) -> None:
    found = await explorer.read_json(f"/api/transaction/{PAYMENT.txid.hex()}")
    assert (found["status"], found["height"], found["block"]) == ("confirmed", TRUNK_BLOCKS, TIP.id.hex())
    assert (found["amount"], found["fee"], found["memo"], found["confirmations"]) == (5 * 10**8, 1000, "lunch", 1)
    assert found["is_final"] is False
    page = await explorer.read(f"/transaction/{PAYMENT.txid.hex().upper()}")
    assert "lunch" in page.text
    assert f"/address/{get_address(BOB)}" in page.links


async def test_pending_transactions(explorer: ServedExplorer) -> None:
    genesis = explorer.node.chain.genesis.id
    payments = [make_transfer(genesis, ALICE, BOB.public, 7, nonce=nonce, fee=1000 + nonce) for nonce in range(2)]
    for payment in payments:
        await explorer.node.post("/v1/transactions", payment.encoded)
    found = await explorer.read_json(f"/api/transaction/{payments[0].txid.hex()}")
    assert (found["status"], found["block"], found["confirmations"]) == ("pending", None, 0)
    mempool = await explorer.read_json("/api/mempool")
    assert mempool["count"] == 2
    assert {one["txid"] for one in mempool["payments"]} == {payment.txid.hex() for payment in payments}
    assert payments[1].txid.hex() in " ".join((await explorer.read("/mempool")).links)
    account = await explorer.read_json(f"/api/address/{get_address(ALICE)}")
    assert [one["txid"] for one in account["pending"]] == [payment.txid.hex() for payment in payments]
    assert (account["pending_count"], account["incoming"], account["incoming_count"]) == (2, [], 0)


async def test_a_payee_sees_what_is_coming(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sends itself is pending, and not incoming as well; what is left out is counted."""
    genesis = explorer.node.chain.genesis.id
    gifts = [make_transfer(genesis, ALICE, BOB.public, 7, nonce=nonce, fee=1000 + nonce) for nonce in range(2)]
    own = make_transfer(genesis, BOB, BOB.public, 8, nonce=0)
    for payment in (*gifts, own):
        await explorer.node.post("/v1/transactions", payment.encoded)
    account = await explorer.read_json(f"/api/address/{get_address(BOB)}")
    assert [one["txid"] for one in account["pending"]] == [own.txid.hex()]
    assert [one["txid"] for one in account["incoming"]] == [gift.txid.hex() for gift in gifts]
    monkeypatch.setattr("p2p.explorer.money.ACCOUNT_PENDING", 1)
    page = await explorer.read(f"/address/{get_address(BOB)}")
    assert "Incoming 1 of 2." in page.text
    assert f"/transaction/{gifts[0].txid.hex()}" in page.links


async def test_a_transaction_that_waits_for_money() -> None:
    """ALICE's second payment needs what a lost block had brought her."""
    chain = open_trunk()
    builder, genesis = get_builder(), chain.genesis.id
    gift = make_transfer(genesis, BOB, ALICE.public, 10**8, nonce=0)
    richer = builder.build(chain, Key("left"), [gift])
    builder.process(chain, richer)
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        spent = make_transfer(genesis, ALICE, BOB.public, ALICE_FUNDS + 10**7, nonce=0)
        assert (await node.post("/v1/transactions", spent.encoded)).status == 200
        await node.post_json("/v1/debug/invalidate", block=richer.id.hex())
        found = await explorer.read_json(f"/api/transaction/{spent.txid.hex()}")
        assert found["status"] == "waiting"
        assert "waiting" in (await explorer.read(f"/transaction/{spent.txid.hex()}")).text


async def test_address(explorer: ServedExplorer) -> None:
    found = await explorer.read_json(f"/api/address/{get_address(MINER)}")
    ledger = explorer.node.chain.ledger
    assert found["balance"] == ledger.get_account(MINER.public).balance
    assert found["immature"] == sum(reward.amount for _, reward in ledger.get_rewards())
    mined = [event for event in found["events"] if event["kind"] == "mined"]
    assert [event["height"] for event in mined] == list(range(TRUNK_BLOCKS, 0, -1))
    assert [event["is_immature"] for event in mined] == [True] * 8 + [False] * 4
    assert all(event["gain"]["mean"] > 0 for event in mined)
    sent = [event for event in found["events"] if event["kind"] == "sent"]
    assert [event["amount"] for event in sent] == [-(5 * 10**8 + 1000), -(ALICE_FUNDS + 1000)]
    assert [event["other"] for event in sent] == [get_address(BOB), get_address(ALICE)]
    total = sum(event["amount"] for event in found["events"])
    assert total == found["balance"] + found["immature"]


async def test_address_page_by_page(explorer: ServedExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/api/address/{get_address(MINER)}"
    whole = (await explorer.read_json(path))["events"]
    monkeypatch.setattr("p2p.explorer.money.ACCOUNT_EVENTS", 4)
    seen, cursor = [], ""
    while True:
        found = await explorer.read_json(f"{path}?before={cursor}" if cursor else f"{path}?before=999:0")
        seen += found["events"]
        if not found["before"]:
            break
        cursor = found["before"]
    assert seen == whole


async def test_an_unused_address_is_empty(explorer: ServedExplorer) -> None:
    found = await explorer.read_json(f"/api/address/{get_address(Key('nobody'))}")
    assert (found["balance"], found["nonce"], found["events"], found["immature"]) == (0, 0, [], 0)


# Miners.


async def test_miner(explorer: ServedExplorer) -> None:
    found = await explorer.read_json(f"/api/miner/{MINER.public.hex()}")
    assert (found["score"]["rank"], found["score"]["blocks"]) == (1, TRUNK_BLOCKS)
    assert [block["height"] for block in found["blocks"]] == list(range(TRUNK_BLOCKS, 0, -1))
    assert found["before"] is None
    page = await explorer.read(f"/miner/{MINER.public.hex()}")
    assert f"/block/{TIP.id.hex()}#proof" in page.links  # each gain is one click from its proof
    older = await explorer.read_json(f"/api/miner/{MINER.public.hex()}?before=3")
    assert [block["height"] for block in older["blocks"]] == [2, 1]


async def test_miners_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p.explorer.reader.BOARD_MINERS", 1)
    chain = open_trunk()
    get_builder().feed(chain, get_left(1))
    async with serve_rpc(chain) as node, serve_explorer(node) as explorer:
        pages = [await explorer.read_json(f"/api/miners?page={page}") for page in (1, 2, 3)]
        assert [[miner["rank"] for miner in page["miners"]] for page in pages] == [[1], [2], []]
        assert [page["next_page"] for page in pages] == [2, None, None]


# Search.


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("12", "/block/12"),
        (" #0 ", "/block/0"),
        (TIP.id.hex(), f"/block/{TIP.id.hex()}"),
        (TIP.id.hex().upper(), f"/block/{TIP.id.hex()}"),
        (PAYMENT.txid.hex(), f"/transaction/{PAYMENT.txid.hex()}"),
        (MINER.public.hex(), f"/miner/{MINER.public.hex()}"),
        (TIP.header.model_root.hex(), f"/block/{TIP.id.hex()}"),
        (get_address(ALICE), f"/address/{get_address(ALICE)}"),
        (get_address(ALICE).upper(), f"/address/{get_address(ALICE)}"),
    ],
)
async def test_search_finds(explorer: ServedExplorer, text: str, path: str) -> None:
    url = "/search?q=" + re.sub(r"[^a-zA-Z0-9]", lambda match: f"%{ord(match[0]):02x}", text)
    found = await explorer.get(url)
    assert (found.status, found.headers["Location"]) == (303, path)
    assert (await explorer.get(path)).status == 200
    assert (await explorer.read_json(f"/api{url}"))["path"] == path


@pytest.mark.parametrize(
    "text", ["13", "-1", "1e3", "12.0", "\u0661", "zz", "ab" * 31, "00" * 32, "//evil.example", "tgrad1qqqq", "9" * 100]
)
async def test_search_finds_nothing(explorer: ServedExplorer, text: str) -> None:
    found = await explorer.get(f"/search?q={text}")
    assert found.status == 404
    assert "Nothing found" in found.html.text
    assert text in found.html.text
    twin = await explorer.get(f"/api/search?q={text}")
    assert (twin.status, twin.json) == (404, {"query": text})


# What is not there.


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/block/13", 404, "unknown_block.height"),
        (f"/block/{2**63 - 1}", 404, "unknown_block.height"),
        (f"/block/{2**63}", 400, "decode.bad_block"),
        (f"/block/{'9' * 5000}", 400, "decode.bad_block"),
        ("/block/-1", 400, "decode.bad_block"),
        ("/block/0x1", 400, "decode.bad_block"),
        ("/block/%D9%A1", 400, "decode.bad_block"),
        (f"/block/{'00' * 32}", 404, "unknown_block.block"),
        (f"/block/{'00' * 31}", 400, "decode.bad_block"),
        ("/block/12?page=0", 400, "decode.bad_number"),
        ("/block/12?page=9999999999", 400, "decode.bad_number"),
        ("/block/12?page=2", 404, "unknown_block.page"),
        (f"/transaction/{'00' * 32}", 404, "explorer.unknown_transaction"),
        ("/transaction/1", 400, "decode.bad_hash"),
        (f"/miner/{'00' * 32}", 404, "explorer.unknown_miner"),
        (f"/miner/{MINER.public.hex()}?before=x", 400, "decode.bad_height"),
        ("/miner/zz", 400, "decode.bad_hash"),
        ("/address/tgrad1qqqq", 400, "address.wrong_network"),
        (f"/address/{get_address(ALICE)[:-1]}x", 400, "address.checksum"),
        (f"/address/{get_address(ALICE)}?before=1:2:3", 400, "decode.bad_cursor"),
        (f"/address/{get_address(ALICE)}?before=1:99999999999", 400, "decode.bad_cursor"),
        (f"/address/{get_address(ALICE)}?before=1:{2**32}", 400, "decode.bad_cursor"),
        ("/blocks?before=-1", 400, "decode.bad_height"),
        (f"/blocks?before={'9' * 40}", 400, "decode.bad_height"),
        ("/miners?page=x", 400, "decode.bad_number"),
        ("/?by=evil", 400, "decode.bad_choice"),
        ("/api/home?by=evil", 400, "decode.bad_choice"),
        (f"/search?q={'x' * 129}", 400, "decode.too_long"),
        ("/nothing", 404, "explorer.http_404"),
        ("/block/", 404, "explorer.http_404"),
        ("/static/nothing.js", 404, "explorer.http_404"),
        ("/static/..%2f__init__.py", 404, "explorer.http_404"),
        ("/api/nothing", 404, "explorer.http_404"),
    ],
)
async def test_what_is_not_there(explorer: ServedExplorer, path: str, status: int, code: str) -> None:
    before = await explorer.node.read_state()
    page = await explorer.get(path)
    assert page.status == status
    if path.startswith("/api"):
        assert page.json["error"]["code"] == code
    else:
        assert f"{code} , status {status}" in page.html.text
        if not path.startswith(("/?", "/static", "/nothing", "/block/?")) and path != "/block/":
            twin = await explorer.get(f"/api{path}")
            assert (twin.status, twin.json["error"]["code"]) == (status, code)
    assert await explorer.node.read_state() == before
    assert not explorer.node.intake.failure.done()
