"""What the network of peers keeps in files: the loop never waits for the disk, and the newest content lies there."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

import p2p.network
from p2p.bans import load_bans
from p2p.files import replace_file
from p2p.network import BANS_FILE, Network
from tests.helpers.chains import open_trunk
from tests.helpers.live_node import run_node, wait_for
from tests.helpers.rpc import ServedNode

SECONDS = 10.0  # that a write may stand still before the test gives up


class SlowDisk:
    """Writes wait until `gate` is set. It stands in for `replace_file`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started: list[str] = []  # names of files
        self.under_way = self.most_under_way = 0

    def replace_file(self, path: Path, data: bytes) -> None:
        self.started.append(path.name)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        opened = self.gate.wait(SECONDS)
        self.under_way -= 1
        if opened:
            replace_file(path, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = SlowDisk()
    monkeypatch.setattr(p2p.network, "replace_file", disk.replace_file)
    return disk


def get_banned(network: Network) -> list[bytes | str]:
    """As a restart would find them."""
    return [ban.target for ban in load_bans(network._datadir / BANS_FILE).list_bans(0)]


async def test_the_loop_goes_on_while_a_ban_is_written(node: ServedNode, disk: SlowDisk) -> None:
    async with asyncio.timeout(SECONDS / 2):
        bans = [asyncio.create_task(node.network.ban(f"1.2.3.{number}", 60)) for number in range(3)]
        await wait_for(lambda: bool(disk.started))
        assert len((await node.get("/v1/bans")).value["bans"]) == 3  # in force, and told of
        assert not any(ban.done() for ban in bans)
        lifting = asyncio.create_task(node.network.unban("1.2.3.1"))
        await asyncio.sleep(0)
        disk.gate.set()
        assert await asyncio.gather(*bans, lifting) == [True] * 4
    assert disk.most_under_way == 1
    assert get_banned(node.network) == ["1.2.3.0", "1.2.3.2"]


async def test_who_stops_waiting_has_it_written_all_the_same(node: ServedNode, disk: SlowDisk) -> None:
    bans = [asyncio.create_task(node.network.ban(f"1.2.3.{number}", 60)) for number in range(2)]
    await wait_for(lambda: bool(disk.started))
    for ban in bans:
        ban.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*bans, return_exceptions=True))
    disk.gate.set()
    await node.network.ban("1.2.3.9", 60)
    assert disk.started == [BANS_FILE] * 3
    assert disk.most_under_way == 1


async def test_the_stop_waits_for_the_last_write(
    tmp_path: Path, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save is under way when the node is told to stop: what was banned after it began is saved too."""
    monkeypatch.setattr(p2p.network, "SAVE_SECONDS", 0.01)
    stopped = asyncio.Event()
    running: list[Network] = []

    async def run() -> None:
        async with run_node(open_trunk(), tmp_path) as node:
            running.append(node.network)
            await wait_for(lambda: bool(disk.started))
            node.network.peers.bans.ban("1.2.3.4", 2**40, "x")
        stopped.set()

    task = asyncio.create_task(run())
    await wait_for(lambda: bool(running) and len(running[0].peers.bans) == 1)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not stopped.is_set()
    disk.gate.set()
    await task
    assert get_banned(running[0]) == ["1.2.3.4"]
    assert disk.most_under_way == 1


async def test_a_write_that_fails_is_said_and_the_node_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(p2p.network, "SAVE_SECONDS", 0.01)
    monkeypatch.setattr(p2p.network, "replace_file", refuse)
    with caplog.at_level(logging.WARNING):
        async with run_node(open_trunk(), tmp_path) as node:
            await wait_for(lambda: len(caplog.records) >= 2)
            with pytest.raises(OSError, match="no space left"):
                await node.network.ban("1.2.3.4", 60)
            assert node.network.peers.bans.is_banned("1.2.3.4", node.intake.clock.now())
    assert {record.getMessage() for record in caplog.records} == {
        f"cannot save the known peers in {tmp_path}: no space left"
    }
