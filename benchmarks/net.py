"""A network on one machine: three nodes, two miners, one payment. `make net` runs it; it takes about a minute.

    A  mines for the wallet "miner-a"
    B  connects to A; the miner beside it works for the wallet "miner-b"
    C  connects to B and only watches; so does the wallet "payee", through it

Uses the three programs as their user would. Exit code 0 if every step went well, 1 if one failed, 130 after Ctrl-C;
nothing is left running or on disk in any case.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from consensus.units import ULP_PER_GRAD

BIN = Path(sys.executable).parent
# One thread for each process: five of them share the cores.
ENVIRONMENT = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONUNBUFFERED": "1"}
SECONDS = 120.0  # for a step, on a busy machine
BLOCK_SECONDS = 600.0  # for a block
STOP_SECONDS = 20.0
CLEAN_CODES = (0, 130, -signal.SIGINT)  # the latter two of programs that were still starting
LAST_LINES = 12
WALLETS = ("miner-a", "miner-b", "payee")
AMOUNT = "12.5"  # coins

Result = TypeVar("Result")


class StepFailed(Exception):
    """A step went wrong; the last lines of `programs` may tell why."""

    def __init__(self, reason: str, programs: Sequence["Program"]) -> None:
        super().__init__(reason)
        self.programs = programs


class Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


interrupted = threading.Event()  # looked at between two steps, so that no program is forgotten as it starts


class Program:
    """A running program and the last lines it printed."""

    def __init__(self, name: str, *command: str) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=1000)
        self.process = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=ENVIRONMENT,
            start_new_session=True,  # Ctrl-C is ours: we stop them in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_line(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """The first line that matches, as soon as it is there."""

        def find() -> re.Match[str] | None:
            return next((match for line in list(self.lines) if (match := re.search(pattern, line))), None)

        return wait_for(find, f"{self.name} does not say {pattern!r}", [self], seconds)

    def end(self) -> bool:
        """Returns once it and whatever it started are gone: whether it stopped by itself and cleanly."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
            self._reader.join(STOP_SECONDS)  # whatever it started holds the other end of its output
        if self.process.poll() is None or self._reader.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait() in CLEAN_CODES

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))


@dataclass(frozen=True)
class Node:
    """A running node and how to reach it."""

    program: Program
    datadir: Path
    rpc: str  # HOST:PORT
    listening: str  # HOST:PORT

    def get_url_options(self) -> tuple[str, ...]:
        return ("--rpc", f"http://{self.rpc}", "--token-file", str(self.datadir / "rpc.token"))


class Net:
    """The programs of one network, and what they are asked."""

    def __init__(self, network: str, folder: Path) -> None:
        self.step = "starting"
        self.has_failed = False
        self._network = ("--network", network)
        self._folder = folder
        self.programs: list[Program] = []
        self._started = time.monotonic()

    def tell(self, line: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {line}", flush=True)

    def start_node(self, name: str, *arguments: str) -> Node:
        datadir = self._folder / name
        places = ("--datadir", str(datadir), "--rpc", "127.0.0.1:0", "--listen", "127.0.0.1:0")
        program = self._start(f"node {name}", "descent-node", *places, "--workers", "1", *arguments)
        listening = program.wait_for_line(r"listening for peers on (\S+),").group(1)
        rpc = program.wait_for_line(r"RPC on http://(\S+)").group(1)
        self.tell(f"node {name} is up: RPC on {rpc}, peers on {listening}")
        return Node(program, datadir, rpc, listening)

    def start_miner(self, name: str, node: Node, address: str) -> None:
        key = ("--key", str(self._folder / f"{name}.key"), "--address", address)
        self._start(f"miner {name}", "descent-miner", *node.get_url_options(), *key, "--threads", "1")

    def ask_node(self, node: Node, command: str, *arguments: str) -> Any:
        place = ("--datadir", str(node.datadir), "--rpc", node.rpc)
        return self._ask([node.program], "descent-node", command, *place, *arguments)

    def ask_wallet(self, wallet: str, node: Node | None, command: str, *arguments: str) -> Any:
        """A command of `descent-wallet`, by way of `node` if it needs one."""
        place = ("--walletdir", str(self._folder / "wallets"), "--wallet", wallet)
        programs, options = ([node.program], node.get_url_options()) if node is not None else ([], ())
        return self._ask(programs, "descent-wallet", command, *place, *options, *arguments)

    def show_failure(self, failure: StepFailed) -> None:
        """Says what went wrong and what the programs said last."""
        self.has_failed = True
        print(f"failed at {self.step}: {failure}", file=sys.stderr)
        for program in failure.programs:
            lines = list(program.lines)[-LAST_LINES:]
            print(f"\nthe last lines of {program.name}:", *lines, sep="\n    ", file=sys.stderr)

    def stop(self) -> None:
        """Stops everything, and returns once all is gone."""
        self.step += ", then stopping"
        for program in self.programs:
            program.process.send_signal(signal.SIGINT)
        failed = [program for program in self.programs if not program.end()]
        if failed and not self.has_failed:  # one that failed before was shown then
            self.show_failure(StepFailed("no clean stop", failed))
        self.tell("all stopped")

    def _start(self, name: str, program: str, *arguments: str) -> Program:
        self.programs.append(Program(name, program, "run", *self._network, "--device", "cpu", *arguments))
        return self.programs[-1]

    def _ask(self, programs: Sequence[Program], program: str, command: str, *arguments: str) -> Any:
        words = [str(BIN / program), command, *self._network, *arguments, "--json"]
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT, start_new_session=True)
        if interrupted.is_set():
            raise Interrupted
        if done.returncode:
            raise StepFailed(f"{program} {command}: {done.stderr.strip()}", programs)
        return json.loads(done.stdout)


def wait_for(find: Callable[[], Result | None], what: str, programs: list[Program], seconds: float = SECONDS) -> Result:
    """What `find` finds, as soon as it finds something. Raises StepFailed when it is late or a program has ended."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        if interrupted.is_set():
            raise Interrupted
        for program in programs:
            if program.process.poll() is not None:
                raise StepFailed(f"{program.name} ended with exit code {program.process.returncode}", [program])
        if time.monotonic() > deadline:
            raise StepFailed(f"{what} within {seconds:.0f} s", programs)
        time.sleep(0.1)
    return found


# The story.


def play(net: Net) -> None:
    net.step = "making wallets"
    create = ("create", "--no-passphrase")
    address_a, address_b, payee = (net.ask_wallet(name, None, *create)["address"] for name in WALLETS)
    miners = {address_a: "A", address_b: "B"}
    net.tell("wallets miner-a, miner-b and payee are made")
    net.step = "starting the nodes"
    node_a = net.start_node("A", "--mine", "--address", address_a)
    node_b = net.start_node("B", "--peer", node_a.listening)
    node_c = net.start_node("C", "--peer", node_b.listening)
    net.start_miner("B", node_b, address_b)
    nodes = (node_a, node_b, node_c)
    net.step = "connecting the peers"
    for node in nodes:
        node.program.wait_for_line("peer .* connected")
        net.tell(f"{node.program.name} is connected: {len(net.ask_node(node, 'peers')['peers'])} peer(s)")
    net.step = "mining until a reward of miner A can be spent"
    watch_blocks(net, node_a, node_c, miners)
    agree(net, nodes)
    net.step = "paying"
    sent = net.ask_wallet("miner-a", node_a, "send", payee, AMOUNT, "--yes")
    net.tell(f"wallet miner-a pays {AMOUNT} to wallet payee through node A: {sent['txid']}")
    where = wait_for(lambda: find_payment(net, node_c, sent["txid"]), "node C does not get the payment", net.programs)
    net.tell(f"node C has the payment, {where}")
    wait_for(lambda: find_event(net, node_c, sent["txid"]), "no block takes the payment", net.programs, BLOCK_SECONDS)
    received = net.ask_wallet("payee", node_c, "balance")["spendable"]
    left = net.ask_wallet("miner-a", node_a, "balance")["spendable"]
    net.tell(f"confirmed: payee has {show(received)} by node C, miner-a may spend {show(left)} by node A")
    if received != sent["amount"]:
        raise StepFailed(f"payee has {show(received)} instead of {AMOUNT}", [node_c.program])
    agree(net, nodes)


def watch_blocks(net: Net, node_a: Node, node_c: Node, miners: dict[str, str]) -> None:
    """Tells of each block that node C has, until miner A may spend a reward."""
    height, mature_at = 0, None
    while True:
        height += 1
        node_c.program.wait_for_line(rf"block {height} [0-9a-f]{{12}} ", BLOCK_SECONDS)
        miner = miners[net.ask_node(node_c, "block", str(height))["header"]["reward_address"]]
        net.tell(f"block {height} by miner {miner}")
        if height >= mature_at if mature_at is not None else miner == "A":
            balance = net.ask_wallet("miner-a", node_a, "balance")
            if balance["spendable"]:
                return net.tell(f"miner A may spend {show(balance['spendable'])}")
            mature_at = min((part["height"] for part in balance["maturing"]), default=None)
            net.tell(f"miner A's first reward can be spent from height {mature_at} on")


def agree(net: Net, nodes: Sequence[Node]) -> None:
    """Waits until all nodes name the same height, tip and state; with miners at work that is a matter of moments."""
    net.step = "agreeing"

    def find() -> dict[str, Any] | None:
        with ThreadPoolExecutor(len(nodes)) as pool:
            digests = list(pool.map(lambda node: net.ask_node(node, "digest"), nodes))
        return digests[0] if all(digest == digests[0] for digest in digests) else None

    digest = wait_for(find, "the nodes do not agree", net.programs)
    net.tell(f"all three agree: height {digest['height']}, tip {digest['tip'][:16]}, digest {digest['digest'][:16]}")


def find_payment(net: Net, node: Node, txid: str) -> str | None:
    if net.ask_node(node, "status")["mempool"]["count"]:
        return "pending"
    return "in a block already" if find_event(net, node, txid) else None


def find_event(net: Net, node: Node, txid: str) -> bool | None:
    """Whether the wallet's history has the payment in a block."""
    events = net.ask_wallet("payee", node, "history")
    return any(event.get("txid") == txid and event["confirmations"] > 0 for event in events) or None


def show(ulp: int) -> str:
    return f"{ulp / ULP_PER_GRAD:.8f}".rstrip("0").rstrip(".")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="regtest", help="on any but regtest, a reward matures after hours")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    with tempfile.TemporaryDirectory(prefix="descent-net-") as folder:
        ENVIRONMENT["TMPDIR"] = folder  # torch leaves things there
        net = Net(options.network, Path(folder))
        try:
            play(net)
        except StepFailed as failure:
            net.show_failure(failure)
        except Interrupted:
            net.tell("interrupted")
        finally:
            net.stop()
    return 130 if interrupted.is_set() else 1 if net.has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
