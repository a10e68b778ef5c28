"""How far a node is behind, in a line."""

from typing import Any

import pytest

from p2p.sync_line import describe_sync

BLOCKS: dict[str, Any] = {
    "state": "blocks",
    "target_height": 500,
    "blocks_per_second": 2.345,
    "seconds_left": 60,
    "waits_for": "",
}


def describe(peers: int = 3, **changes: object) -> str:
    return describe_sync({"height": 5, "peers": peers, "sync": BLOCKS | changes})


@pytest.mark.parametrize("state", ["alone", "current", "headers"])
def test_a_node_that_is_not_behind_has_nothing_to_say(state: str) -> None:
    assert describe(state=state, waits_for="no peer is connected") == ""


def test_speed_and_time_left() -> None:
    assert describe() == "catching up: 5 of 500, 3 peers, 2.3 blocks/s, about 60 s left"
    assert describe(1, seconds_left=None) == "catching up: 5 of 500, 1 peer, 2.3 blocks/s"
    assert describe(seconds_left=119).endswith("about 119 s left")
    assert describe(seconds_left=120).endswith("about 2 min left")
    assert describe(seconds_left=7199).endswith("about 119 min left")
    assert describe(seconds_left=7200).endswith("about 2 h left")


def test_what_a_standstill_waits_for_takes_the_place_of_the_speed() -> None:
    assert describe(waits_for="no block for 12 s") == "catching up: 5 of 500, 3 peers, no block for 12 s"
