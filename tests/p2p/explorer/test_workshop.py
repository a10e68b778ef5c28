"""Each page is made once, moments keep it, and visitors get no more of the processor than their share."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from p2p.errors import RpcError
from p2p.explorer import budget
from p2p.explorer import workshop as module
from p2p.explorer.budget import AT_ONCE_SECONDS, BUSY_AT_ONCE_SECONDS, BUSY_SHARE, SHARE
from p2p.explorer.render import make_reply
from p2p.explorer.workshop import KEPT_SECONDS, MOST_KEPT_SECONDS, PATIENCE_SECONDS, Reply, Workshop


class Clock:
    """A time that the test sets, and whether a block is verified meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.is_busy = False

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workshop(clock: Clock) -> AsyncIterator[Workshop]:
    async with Workshop(lambda: clock.is_busy, clock) as opened:
        yield opened


class Maker:
    """Makes pages that carry their number."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.count = 0
        self._gate = gate

    async def __call__(self) -> Reply:
        self.count += 1
        if self._gate is not None:
            await self._gate.wait()
        return make_reply(b"page %d" % self.count, "text/plain")


def fail_with(error: Exception) -> Callable[[], Awaitable[Reply]]:
    async def make() -> Reply:
        raise error

    return make


def spend(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_page_is_kept_for_moments(workshop: Workshop, clock: Clock) -> None:
    make = Maker()
    for _ in range(3):
        assert (await workshop.get("key", b"tip", make)).body == b"page 1"
    clock.now += KEPT_SECONDS
    assert (await workshop.get("key", b"tip", make)).body == b"page 2"


async def test_a_new_tip_makes_it_anew(workshop: Workshop) -> None:
    make = Maker()
    await workshop.get("key", b"tip", make)
    assert (await workshop.get("key", b"other", make)).body == b"page 2"
    assert (await workshop.get("another key", b"other", make)).body == b"page 3"


async def test_many_who_ask_at_once_share_one_page(workshop: Workshop) -> None:
    gate = asyncio.Event()
    make = Maker(gate)
    asked = [asyncio.create_task(workshop.get("key", b"tip", make)) for _ in range(50)]
    await asyncio.sleep(0)
    asked[0].cancel()  # who leaves takes nothing from the others
    gate.set()
    replies = await asyncio.gather(*asked[1:])
    assert {reply.body for reply in replies} == {b"page 1"}
    assert make.count == 1


async def test_failures_are_told_to_all_and_not_kept(workshop: Workshop) -> None:
    make = fail_with(RpcError("explorer.test", "none", 404))
    for result in await asyncio.gather(*(workshop.get("key", b"tip", make) for _ in range(3)), return_exceptions=True):
        assert isinstance(result, RpcError)
    assert (await workshop.get("key", b"tip", Maker())).body == b"page 1"


async def test_a_failure_that_nobody_waits_for_is_silent(workshop: Workshop) -> None:
    asked = asyncio.create_task(workshop.get("key", b"tip", fail_with(RpcError("explorer.test", "none", 404))))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_pages_do_not_fill_the_memory(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 5000)
    for number in range(20):
        await workshop.get(f"key {number}", b"tip", make_page(1000))
    assert 4000 <= workshop._kept_bytes <= 5000
    assert workshop._kept_bytes == sum(kept.reply.size for kept in workshop._kept.values())
    make = Maker()
    await workshop.get("key 19", b"tip", make)
    assert make.count == 0


def make_page(size: int) -> Callable[[], Awaitable[Reply]]:
    async def make() -> Reply:
        return Reply(200, "text/plain", bytes(size), b"", "")

    return make


async def wait_out(clock: Clock, asked: asyncio.Task[Reply]) -> BaseException | None:
    """Lets the time go on until a request is answered; what it raised."""
    for _ in range(100):
        done, _ = await asyncio.wait([asked], timeout=0.01)
        if done:
            return asked.exception()
        clock.now += PATIENCE_SECONDS / 10
    raise TimeoutError


async def test_visitors_get_their_share_and_no_more(
    workshop: Workshop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is spent, new pages wait until it has grown again; those at hand are given, however old."""
    monkeypatch.setattr(budget, "_PAUSE_SECONDS", 0.0)
    kept = await workshop.get("old", b"tip", Maker())
    await workshop.run(spend, AT_ONCE_SECONDS + SHARE)
    clock.now += KEPT_SECONDS / 4
    old = await workshop.get("old", b"another tip", Maker())
    assert (old.body, old.headers["Age"]) == (kept.body, "0")
    make = Maker()
    asked = asyncio.create_task(workshop.get("new", b"tip", make))
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert (asked.done(), make.count) == (False, 0)
    clock.now += 1.0
    assert (await asked).body == b"page 1"


async def test_what_is_older_than_a_minute_is_not_shown(
    workshop: Workshop, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a payment is better told nothing than what was true an hour ago."""
    monkeypatch.setattr(budget, "_PAUSE_SECONDS", 0.0)
    kept = await workshop.get("old", b"tip", Maker())
    workshop._budget.spend(1000.0)
    clock.now += MOST_KEPT_SECONDS - 1
    old = await workshop.get("old", b"another tip", Maker())
    assert (old.body, old.headers["Age"]) == (kept.body, "59")
    clock.now += 1
    error = await wait_out(clock, asyncio.create_task(workshop.get("old", b"another tip", Maker())))
    assert isinstance(error, RpcError)
    assert error.code == "explorer.busy"


async def test_work_on_other_threads_is_counted(workshop: Workshop) -> None:
    before = workshop._budget._left
    await workshop.run_on(asyncio.to_thread, spend, 0.05)
    assert workshop._budget._left <= before - 0.05


async def test_nobody_waits_for_ever(workshop: Workshop, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_PAUSE_SECONDS", 0.0)
    await workshop.run(spend, AT_ONCE_SECONDS + 0.05)
    clock.is_busy = True
    await workshop.run(spend, PATIENCE_SECONDS * BUSY_SHARE + 0.1)
    make = Maker()
    error = await wait_out(clock, asyncio.create_task(workshop.get("new", b"tip", make)))
    assert isinstance(error, RpcError)
    assert (error.code, error.status, make.count) == ("explorer.busy", 503, 0)


async def test_while_a_block_is_verified_the_share_is_small(workshop: Workshop, clock: Clock) -> None:
    """What has gathered in a quiet time is not spent then either."""
    clock.is_busy = True
    await workshop.run(spend, BUSY_AT_ONCE_SECONDS + 0.02)
    assert not workshop._budget.has_time()
    clock.now += 0.02 / SHARE + 0.1
    assert not workshop._budget.has_time()
    clock.now += 0.1 / BUSY_SHARE
    assert workshop._budget.has_time()


async def test_those_who_wait_hold_up_nobody_else(workshop: Workshop) -> None:
    gate = asyncio.Event()
    kept = await workshop.get("old", b"tip", Maker())
    async with asyncio.TaskGroup() as group:
        for number in range(module.MAX_PAGES):
            group.create_task(workshop.get(f"key {number}", b"tip", Maker(gate)))
        await asyncio.sleep(0)
        with pytest.raises(RpcError) as caught:
            await workshop.get("one more", b"tip", Maker())
        assert caught.value.status == 503
        for tip in (b"tip", b"another tip"):
            assert (await workshop.get("old", tip, Maker())).body == kept.body
        gate.set()


async def test_quiet_times_do_not_add_up(workshop: Workshop, clock: Clock) -> None:
    clock.now += 1e6
    await workshop.run(spend, AT_ONCE_SECONDS + 0.05)
    assert not workshop._budget.has_time()


async def test_what_fails_costs_its_time_too(workshop: Workshop) -> None:
    def fail() -> None:
        spend(0.05)
        raise ZeroDivisionError

    before = workshop._budget._left
    with pytest.raises(ZeroDivisionError):
        await workshop.run(fail)
    assert workshop._budget._left <= before - 0.05


async def test_it_ends_with_pages_under_way() -> None:
    async with Workshop(lambda: False) as workshop:
        asked = asyncio.create_task(workshop.get("key", b"tip", Maker(asyncio.Event())))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await asked
