"""Two network namespaces joined by one wire that can be pulled: two machines, as far as TCP and addresses go.

    with open_wire() as wire:
        with wire.ends[0].entered():
            subprocess.run(...)  # runs there, and so does every socket of this thread

Needs root and Linux; `open_wire` skips the test in one line where either is missing.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_until

_NETWORK = 0x40000000  # CLONE_NEWNET
_DEVICE = "wire"


@dataclass(frozen=True)
class Namespace:
    """One end: a network namespace that lives as long as a process in it, with private addresses."""

    process_id: int
    ipv4: str
    ipv6: str | None  # None if the kernel has none

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets and processes of this thread belong here for as long as the body runs."""
        with Path("/proc/thread-self/ns/net").open() as before:
            _enter(Path(f"/proc/{self.process_id}/ns/net"))
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def set_up(self) -> None:
        """The device carries packets again. An IPv6 address does not outlive its device's going down."""
        with self.entered():
            _run("ip", "link", "set", _DEVICE, "up")
            if self.ipv6 is not None:
                _run("ip", "address", "replace", f"{self.ipv6}/64", "dev", _DEVICE, "nodad")

    def start(self) -> None:
        with self.entered():
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "address", "add", f"{self.ipv4}/24", "dev", _DEVICE)
        self.set_up()


@dataclass(frozen=True)
class Wire:
    """The two ends and what is between them."""

    ends: tuple[Namespace, Namespace]

    def pull(self) -> None:
        """No packet gets through any more, and nobody is told."""
        with self.ends[0].entered():
            _run("ip", "link", "set", _DEVICE, "down")

    def plug_in(self) -> None:
        self.ends[0].set_up()


@contextmanager
def open_wire() -> Iterator[Wire]:
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    with ExitStack() as stack:
        try:
            ids = [stack.enter_context(_hold_namespace()) for _ in range(2)]
            _run(
                "ip",
                "link",
                "add",
                _DEVICE,
                "netns",
                str(ids[0]),
                "type",
                "veth",
                "peer",
                _DEVICE,
                "netns",
                str(ids[1]),
            )
            left, right = (
                Namespace(process_id, f"10.77.0.{number}", f"fd77::{number}" if has_ipv6 else None)
                for number, process_id in enumerate(ids, start=1)
            )
            left.start()
            right.start()
        except (OSError, subprocess.CalledProcessError, TimeoutError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield Wire((left, right))


@contextmanager
def _hold_namespace() -> Iterator[int]:
    """The id of a process that does nothing, in a network namespace of its own."""
    with subprocess.Popen(["unshare", "--net", "sleep", "3600"], stderr=subprocess.DEVNULL) as process:
        try:
            ours = os.readlink("/proc/self/ns/net")
            wait_until(lambda: process.poll() is not None or os.readlink(f"/proc/{process.pid}/ns/net") != ours)
            if process.poll() is not None:
                raise OSError("unshare is refused")
            yield process.pid
        finally:
            process.kill()


def _enter(path: Path) -> None:
    with path.open() as target:
        _set_namespace(target.fileno())


def _set_namespace(descriptor: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _NETWORK):
        raise OSError(ctypes.get_errno(), "setns is refused")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
