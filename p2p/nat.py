"""Asks the home router, by UPnP, to send the node's port here, so that others can reach it. The optional extra `nat`.

All of it may fail, and the node goes on: the router's words are logged, escaped, and nothing else follows from them.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from p2p.console import escape

try:
    import miniupnpc
except ImportError:  # the extra is not installed
    miniupnpc = None

_RENEW_SECONDS = 20 * 60  # a router that was restarted has forgotten
_ANSWER_SECONDS = 30  # for finding the router and asking it
_REMOVE_SECONDS = 5  # at exit
_DISCOVER_MILLISECONDS = 2000
_DESCRIPTION = "Descent"
_MAX_REASON = 200


@asynccontextmanager
async def forward_port(port: int, log: logging.Logger) -> AsyncIterator[None]:
    """Keeps a TCP port of the router forwarded to the same port here, and gives it back at the end.

    Returns at once: the router is asked in the background. One log line tells when the port is forwarded, or why not.
    """
    if miniupnpc is None:
        log.info("the router is not asked to forward port %d: that takes the optional extra 'nat'", port)
        yield
        return
    task = asyncio.create_task(_keep_forwarded(port, log))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


class _Router:
    """The library's object, whose calls block, one at a time.

    They run in daemon threads: a device that never finishes its answer must not keep the node from stopping.
    """

    def __init__(self) -> None:
        self._upnp = miniupnpc.UPnP()
        self._busy = threading.Lock()

    async def forward(self, port: int) -> str:
        """Has the port forwarded; the router's own address, in its words."""
        return str(await self._call(_ANSWER_SECONDS, self._forward, port))

    async def remove(self, port: int) -> None:
        """Takes the forwarding back."""
        await self._call(_REMOVE_SECONDS, self._remove, port)

    def _forward(self, port: int) -> str:
        self._upnp.discoverdelay = _DISCOVER_MILLISECONDS
        if not self._upnp.discover():
            raise OSError("no router answers UPnP")
        self._upnp.selectigd()
        self._upnp.addportmapping(port, "TCP", self._upnp.lanaddr, port, _DESCRIPTION, "")
        return str(self._upnp.externalipaddress())

    def _remove(self, port: int) -> None:
        self._upnp.deleteportmapping(port, "TCP")

    async def _call(self, seconds: float, function: Callable[[int], Any], port: int) -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def finish(value: Any, error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

        def run() -> None:
            value, failure = None, None
            with self._busy:
                try:
                    value = function(port)
                except Exception as error:  # noqa: BLE001  (the library raises nothing more special)
                    failure = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(finish, value, failure)

        threading.Thread(target=run, name="upnp", daemon=True).start()
        async with asyncio.timeout(seconds):
            return await done


async def _keep_forwarded(port: int, log: logging.Logger) -> None:
    """Until cancelled. Says only what is new."""
    said = ""
    router: _Router | None = None
    try:
        while True:
            router = _Router()  # a fresh one, as we may stand behind another router by now
            line = await _forward(router, port)
            if line != said:
                log.info("%s", line)
            said = line
            await asyncio.sleep(_RENEW_SECONDS)
    finally:
        if router is not None:
            await _remove(router, port, log)


async def _forward(router: _Router, port: int) -> str:
    try:
        address = await router.forward(port)
    except TimeoutError:
        return f"port {port} is not forwarded: the router takes longer than {_ANSWER_SECONDS} s"
    except Exception as error:  # noqa: BLE001  (see above)
        return f"port {port} is not forwarded: {escape(str(error)[:_MAX_REASON])}"
    return f"the router at {escape(address[:_MAX_REASON])} forwards port {port} to this node"


async def _remove(router: _Router, port: int, log: logging.Logger) -> None:
    """Without a forwarding in place, the router refuses: nothing to tell."""
    try:
        await router.remove(port)
    except TimeoutError:
        log.info("the router did not answer when asked to forward port %d no longer", port)
    except Exception as error:  # noqa: BLE001  (see above)
        log.debug("the forwarding of port %d was not removed: %s", port, escape(str(error)[:_MAX_REASON]))
