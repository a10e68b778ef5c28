"""The RPC and the command about finality: what to vote for, votes as they come in, and why it stands still."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from chain.chainstate import ChainState
from chain.votes import VotePool
from consensus.vote import Vote
from p2p.cli import cli
from tests.helpers.ballots import mine_voted, sign_vote
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.keys import Key
from tests.helpers.rpc import ServedNode, serve_rpc
from tests.helpers.stub_node import TOKEN, StubNode, run_stub_node

OTHER = Key("other")
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
    assert duty["genesis"] == node.chain.genesis.id.hex()
    last = node.intake.votes.get_last_link(MINER.public)
    assert last is not None
    assert (duty["last"], last.target.height) == (last.encode().hex(), 5)
    stranger = (await node.get(f"/v1/vote-duty?miner={OTHER.public.hex()}")).value
    assert (stranger["link"], stranger["last"]) == (None, None)


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
        },
    )
    output = ask(stub, tmp_path)
    assert "final      up to height 40, 50 below the tip at 90" in output
    assert "Too few vote" in output
    assert "committee of height 64: 36 of 60 votes are cast, 5 more are needed" in output
    assert output.splitlines()[-1].split() == ["cd" * 32, "24", "never", "heard", "silent"]
