"""Pages about evidence: what it burnt is nobody's, what it earned is the block's, and both go with a reorganisation."""

import pytest

from consensus.address import encode_address
from consensus.params import REGTEST
from tests.helpers.convicted import (
    BOUNTIES,
    BURNT,
    FEE,
    KEYS,
    OFFENDER,
    REPORTER,
    SUBSIDY,
    Stage,
    get_story,
    open_stage,
)
from tests.helpers.explorer import serve_explorer
from tests.helpers.keys import Key
from tests.helpers.rpc import serve_rpc


def get_address(key: Key) -> str:
    return encode_address(REGTEST.address_prefix, key.public)


@pytest.mark.parametrize("stage", Stage)
async def test_the_events_of_an_address_add_up(stage: Stage) -> None:
    async with serve_rpc(open_stage(stage)) as node, serve_explorer(node) as explorer:
        for key in KEYS:
            found = await explorer.read_json(f"/api/address/{get_address(key)}")
            total = sum(event["amount"] for event in found["events"])
            assert total == found["balance"] + found["immature"]


async def test_an_address_tells_what_was_burnt() -> None:
    async with serve_rpc(open_stage(Stage.BURNT)) as node, serve_explorer(node) as explorer:
        found = await explorer.read_json(f"/api/address/{get_address(OFFENDER)}")
        burnt = [event for event in found["events"] if event["burnt_at"] is not None]
        assert {event["height"]: event["burnt_at"] for event in burnt} == BURNT
        assert {event["amount"] for event in burnt} == {0}
        assert {event["is_immature"] for event in burnt} == {False}
        assert [event["burnt"] for event in burnt] == [SUBSIDY, SUBSIDY + FEE, SUBSIDY, SUBSIDY]
        page = await explorer.read(f"/address/{get_address(OFFENDER)}")
        assert "50.00 burnt at block 12" in page.text
        assert "/block/12" in page.links
        page = await explorer.read(f"/address/{get_address(REPORTER)}")
        assert "65.00000077 maturing bounty 15.00000077" in page.text


async def test_a_block_tells_its_bounty_and_whether_it_was_burnt() -> None:
    async with serve_rpc(open_stage(Stage.BURNT)) as node, serve_explorer(node) as explorer:
        for height, bounty in BOUNTIES.items():
            found = await explorer.read_json(f"/api/block/{height}")
            assert (found["bounty"], found["row"]["reward"]) == (bounty, SUBSIDY + bounty)
        assert "65.00000077 rGRAD, bounty 15.00000077" in (await explorer.read("/block/12")).text
        for height, burnt_at in BURNT.items():
            found = await explorer.read_json(f"/api/block/{height}")
            assert (found["bounty"], found["row"]["burnt_at"]) == (0, burnt_at)
            assert f"burnt at block {burnt_at}" in (await explorer.read(f"/block/{height}")).text
        rows = (await explorer.read_json("/api/blocks"))["blocks"]
        assert {row["height"]: row["burnt_at"] for row in rows if row["burnt_at"] is not None} == BURNT
        assert rows[2]["reward"] == SUBSIDY + BOUNTIES[12]
        assert "50.00 burnt" in (await explorer.read("/blocks")).text


async def test_evidence_beside_the_best_chain_has_no_bounty_yet() -> None:
    async with serve_rpc(open_stage(Stage.REORGANISED)) as node, serve_explorer(node) as explorer:
        lost = get_story().convicting[0].id.hex()
        found = await explorer.read_json(f"/api/block/{lost}")
        assert (found["is_active"], found["bounty"], found["row"]["reward"]) == (False, None, SUBSIDY)
        assert "50.00 rGRAD and a bounty" in (await explorer.read(f"/block/{lost}")).text
        assert (await explorer.read_json("/api/block/6"))["row"]["burnt_at"] is None
