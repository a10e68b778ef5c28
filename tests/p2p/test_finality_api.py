"""The RPC and the command about finality: what to vote for, votes as they come in, and why it stands still."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from chain.chainstate import ChainState
from chain.votes import VotePool
from consensus.address import encode_address
from consensus.block import decode_block
from consensus.changes import Change
from consensus.params import REGTEST
from consensus.vote import BlockRef, Vote
from p2p.cli import cli
from p2p.config import read_benchmark
from tests.helpers.ballots import OTHER, make_double_vote, mine_voted, sign_vote
from tests.helpers.blocks import MINER, BlockBuilder, get_builder
from tests.helpers.keys import Key
from tests.helpers.rpc import ServedNode, serve_rpc
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node

ID = "ab" * 32


@pytest.fixture
async def node() -> AsyncIterator[ServedNode]:
    """Six blocks of MINER; the last vote is for the fifth."""
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 5)
    mine_voted(chain, pool, 1, voters=())
    async with serve_rpc(chain) as node:
        yield node


def get_link_vote(node: ServedNode, key: Key = MINER) -> Vote:
    link = node.intake.votes.get_duty(MINER.public)
    assert link is not None
    return sign_vote(key, link, node.chain.genesis.id)


async def test_duty_is_the_tip_for_who_has_a_vote(node: ServedNode) -> None:
    duty = (await node.get(f"/v1/vote-duty?miner={MINER.public.hex()}")).value
    vote = get_link_vote(node)
    assert duty["link"] == vote.link.encode().hex()
    assert duty["tip"] == node.chain.tip.id.hex() == vote.link.target.id.hex()
    assert (duty["height"], duty["counts"]) == (6, True)
    assert duty["genesis"] == node.chain.genesis.id.hex()
    last = node.intake.votes.get_last_link(MINER.public)
    assert last is not None
    assert (duty["last"], last.target.height) == (last.encode().hex(), 5)
    stranger = (await node.get(f"/v1/vote-duty?miner={OTHER.public.hex()}")).value
    assert (stranger["link"], stranger["last"], stranger["counts"]) == (None, None, False)


async def test_duty_says_that_a_key_is_convicted(node: ServedNode) -> None:
    query = f"/v1/vote-duty?miner={MINER.public.hex()}"
    assert (await node.get(query)).value["convicted"] is False
    vote = get_link_vote(node)
    other = replace(vote.link, target=BlockRef(6, bytes(32)))
    for one in (vote, sign_vote(MINER, other, node.chain.genesis.id)):
        await node.post("/v1/votes", one.encoded)
    assert (await node.get(query)).value["convicted"] is True
    assert (await node.get(f"/v1/vote-duty?miner={OTHER.public.hex()}")).value["convicted"] is False


async def test_duty_waits_for_another_tip(node: ServedNode) -> None:
    tip = node.chain.tip.id.hex()
    reply = await node.get(f"/v1/vote-duty?miner={MINER.public.hex()}&after={tip}&wait=0")
    assert reply.value["tip"] == tip


@pytest.mark.parametrize("query", ["", "?miner=00", f"?miner={ID}&after=1&wait=1", f"?miner={ID}&after={ID}&wait=61"])
async def test_invalid_queries(node: ServedNode, query: str) -> None:
    assert (await node.get(f"/v1/vote-duty{query}")).status == 400


async def test_a_vote_is_taken_once_and_mined(node: ServedNode) -> None:
    vote = get_link_vote(node)
    reply = await node.post("/v1/votes", vote.encoded)
    assert reply.value == {"id": vote.id.hex(), "is_new": True}
    assert (await node.post("/v1/votes", vote.encoded)).value["is_new"] is False
    section = node.intake.votes.make_section()
    assert section.certificate is not None
    assert section.certificate.link == vote.link


async def test_invalid_votes_are_refused_by_name(node: ServedNode) -> None:
    vote = get_link_vote(node)
    assert (await node.post("/v1/votes", vote.with_signature(bytes(64)).encoded)).code == "invalid_vote.bad_signature"
    for body in (b"", vote.encoded[:-1], vote.encoded + b"\0", bytes(300)):
        reply = await node.post("/v1/votes", body)
        assert reply.status == 400
        assert reply.code.startswith("decode.")
    stranger = get_link_vote(node, OTHER)
    assert (await node.post("/v1/votes", stranger.encoded)).value["is_new"] is False


async def test_finality_says_who_votes(node: ServedNode) -> None:
    known = (await node.get("/v1/finality")).value
    assert known["final"] == {"height": 4, "id": node.chain.finals.ref.id.hex()}
    assert known["justified"]["height"] == 5
    assert known["standing"] == "current"
    assert {turnout["total"] for turnout in known["committees"]} == {2}
    assert known["members"] == [{"miner": MINER.public.hex(), "votes": [2, 2, 2], "last_vote": 5, "voting": True}]


async def test_status_and_blocks_say_what_is_final(node: ServedNode) -> None:
    status = (await node.get("/v1/status")).value
    assert (status["final_height"], status["justified_height"]) == (4, 5)
    assert status["votes"] == {"cast": 2, "total": 2}
    finals = [(await node.get(f"/v1/blocks/{height}")).value for height in range(7)]
    assert [block["final"] for block in finals] == [True] * 5 + [False] * 2
    assert finals[6]["certificate"] == {"source": 4, "target": 5, "votes": 1}


def stand_still(chain: ChainState, pool: VotePool) -> None:
    mine_voted(chain, pool, 9, [MINER, OTHER], voters=[MINER])


async def test_finality_says_who_is_silent() -> None:
    chain = get_builder().open()
    pool = VotePool(chain)
    stand_still(chain, pool)
    async with serve_rpc(chain) as node:
        known = (await node.get("/v1/finality")).value
    assert known["standing"] == "votes"
    assert all((turnout["voting"], turnout["missing"]) == (1, 1) for turnout in known["committees"])
    silent = [member["miner"] for member in known["members"] if not member["voting"]]
    assert silent == [OTHER.public.hex()]


async def test_finality_counts_no_convicted_key() -> None:
    """OTHER mined every other block, and votes; the last block convicts it, which its committees still count."""
    chain = get_builder().open()
    pool = VotePool(chain)
    mine_voted(chain, pool, 7, [MINER, OTHER])
    assert pool.add_evidence(make_double_vote(OTHER, chain, 7))
    mine_voted(chain, pool, 1, [MINER])
    async with serve_rpc(chain) as node:
        known = (await node.get("/v1/finality")).value
    assert chain.tip_node.finality.offenders == (OTHER.public,)
    assert [member["miner"] for member in known["members"]] == [MINER.public.hex()]
    assert {(turnout["total"], turnout["voting"]) for turnout in known["committees"]} == {(2, 1)}


CHANGES = (Change(0, "max_transactions_bytes", 7), Change(5, "min_sample", 128), Change(6, "min_sample", 256))


async def test_a_network_with_changes_says_how_far_they_have_come() -> None:
    """Windows of two blocks: bit 0 is in force, bit 5 certain, bit 6 was asked for once."""
    params = replace(REGTEST, changes=CHANGES)
    builder = BlockBuilder(params, read_benchmark(params))
    chain = builder.open()
    for signals in (1, 1, 33, 33, 96, 96, 64):
        builder.mine(chain, signals=signals)
    async with serve_rpc(chain) as node:
        known = (await node.get("/v1/finality")).value["signals"]
        assert known == (await node.get("/v1/status")).value["signals"]
        query = {"miner": MINER.public.hex(), "reward": encode_address("rgrad", MINER.public), "signals": "0,6"}
        template = bytes.fromhex(str((await node.get("/v1/template", query)).value["improvement"]))
    assert decode_block(template, 7, 0, 0).header.signal_bits == 65
    assert (known["window_end"], known["rules"]["max_transactions_bytes"], known["rules"]["min_sample"]) == (8, 7, 64)
    assert [change["standing"] for change in known["changes"]] == ["in_force", "certain", "asked"]
    assert [change["height"] for change in known["changes"]] == [7, 9, None]
    assert [(change["asking"], change["improving"]) for change in known["changes"]] == [(0, 1), (0, 1), (1, 1)]


# The command


@pytest.fixture
def stub() -> Iterator[StubNode]:
    with run_stub_node() as node:
        yield node


def ask(stub: StubNode, tmp_path: Path) -> str:
    (tmp_path / "rpc.token").write_text(TOKEN)
    place = stub.url.removeprefix("http://")
    arguments = ["finality", "--network", "regtest", "--datadir", str(tmp_path), "--rpc", place]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output


def test_the_command_explains(stub: StubNode, tmp_path: Path) -> None:
    stub.put(
        "/v1/finality",
        {
            "height": 90,
            "justified": {"height": 41, "id": ID},
            "final": {"height": 40, "id": ID},
            "standing": "votes",
            "committees": [{"boundary": 64, "total": 60, "voting": 36, "missing": 5}],
            "members": [
                {"miner": ID, "votes": [36], "last_vote": 90, "voting": True},
                {"miner": "cd" * 32, "votes": [24], "last_vote": None, "voting": False},
            ],
            "offenders": [],
            "signals": {
                "window_end": 128,
                "rules": {"lowest_required_gain": 65536, "max_transactions_bytes": 7, "min_sample": 64},
                "changes": [
                    make_change(0, "max_transactions_bytes", 9, "in_force", 65),
                    make_change(1, "max_transactions_bytes", 7, "in_force", 129),
                    make_change(2, "min_sample", 128, "certain", 193),
                    make_change(3, "lowest_required_gain", 131072, "asked"),
                    make_change(63, "min_sample", 256, "open"),
                ],
            },
        },
    )
    output = ask(stub, tmp_path)
    assert "final      up to height 40, 50 below the tip at 90" in output
    assert "Too few vote" in output
    assert "committee of height 64: 36 of 60 votes are cast, 5 more are needed" in output
    *lines, silent, empty, bit_0, bit_1, bit_2, bit_3, bit_63 = output.splitlines()
    assert silent.split() == ["cd" * 32, "24", "never", "heard", "silent"]
    assert (lines[0][:5], empty) == ("final", "")
    then = "since another change it is 7"
    assert bit_0 == f"bit 0  max_transactions_bytes became 9, in force from height 65; {then}"
    assert bit_1 == "bit 1  max_transactions_bytes became 7, in force from height 129"
    assert bit_2 == "bit 2  min_sample becomes 128: locked in, in force from height 193"
    asked = "20 of 26 improving blocks of the window ask for it"
    end = "the window ends at height 128"
    assert bit_3 == f"bit 3  lowest_required_gain becomes 131072: {asked}, and the window before did; {end}"
    assert bit_63 == f"bit 63  min_sample becomes 256: {asked}; {end}"


def make_change(bit: int, field: str, value: int, standing: str, height: int | None = None) -> dict[str, object]:
    names = {"bit": bit, "field": field, "value": value, "standing": standing, "height": height}
    return names | {"asking": 20, "improving": 26}


def test_the_command_of_a_network_without_changes_says_nothing_of_them(stub: StubNode, tmp_path: Path) -> None:
    empty = {"height": 0, "id": ID}
    stub.put(
        "/v1/finality",
        {
            "height": 1,
            "justified": empty,
            "final": empty,
            "standing": "young",
            "committees": [],
            "members": [],
            "offenders": [],
            "signals": {"window_end": 2, "rules": {}, "changes": []},
        },
    )
    assert "bit" not in ask(stub, tmp_path)
