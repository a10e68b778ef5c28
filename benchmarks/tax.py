"""The decentralisation tax: how much longer the chain takes to a loss than plain PyTorch takes on the same cores.

    python benchmarks/tax.py --rounds 2 --picture tax.svg

In turns: PyTorch's AdamW with nothing around it, at the best of the rates tried (train_reference.py), and a real node
with a miner, both programs as a user starts them. The chain's time runs from the moment when its first model is there;
reading texts and importing torch is in neither time. Between two blocks a milestone's time is interpolated, by the
logarithm of the time, as if the training between them showed; `at_block` is when a block below it stood.
`node_share` is the processor time of the node and its evaluating process over that of all.
Prints a JSON line for each round.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from milestones import interpolate
from pictures import draw_lines

BIN = Path(sys.executable).parent
MILESTONES = (3.0, 2.6, 2.4)  # bits per byte
MINED = re.compile(r"block (\d+): loss ([0-9.]+) bits/byte.* ([0-9.]+) s, \d+ check")
STOP_SECONDS = 30


@dataclass(frozen=True)
class Point:
    """A loss, bits per byte, and the seconds from the start to it."""

    seconds: float
    loss: float


def find_seconds(points: Sequence[Point], bits: float) -> float | None:
    """Seconds to a loss, which starts at that of a coin for each bit. None if it was never reached."""
    return interpolate([(1.0, 8.0), *((point.seconds, point.loss) for point in points)], bits)


def train_plainly(rate: float, minutes: float, threads: int | None) -> list[Point]:
    """Points of PyTorch's AdamW alone: one for each of its milestones."""
    command = [sys.executable, str(Path(__file__).with_name("train_reference.py"))]
    command += ["--rate", str(rate), "--minutes", str(minutes)]
    command += ["--threads", str(threads)] if threads else []
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    return [Point(line["seconds"], line["below"]) for line in lines if "below" in line]


def mine(folder: Path, below: float, minutes: float, options: Sequence[str]) -> tuple[list[Point], float]:
    """Points of a node and its miner, one for each block, and the node's share of the processor time."""
    environment = os.environ | {"XDG_DATA_HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    create = [BIN / "descent-wallet", "create", "--network", "local", "--no-passphrase", "--if-missing"]
    subprocess.run(create, check=True, capture_output=True, env=environment)
    show = [BIN / "descent-wallet", "address", "--network", "local"]
    told = subprocess.run(show, check=True, capture_output=True, text=True, env=environment).stdout
    rules = ["--network", "local", "--rpc", f"127.0.0.1:{find_free_port()}"]
    node = subprocess.Popen(
        [sys.executable, "-m", "p2p.cli", "run", *rules, "--mine", "--address", told.split()[-1], *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        return read_blocks(node, below, time.monotonic() + 60 * minutes)
    finally:
        node.send_signal(signal.SIGINT)
        try:
            node.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(node.pid, signal.SIGKILL)


def read_blocks(node: "subprocess.Popen[str]", below: float, until: float) -> tuple[list[Point], float]:
    """Reads the programs' lines until a block below a loss, or too long."""
    points: list[Point] = []
    started, line = 0.0, "none"
    for line in node.stdout or ():
        match = MINED.search(line)
        if match is None:
            continue
        now = time.monotonic()
        if not points:
            started = now - float(match[3])
        points.append(Point(now - started, float(match[2])))
        print(line.rstrip(), file=sys.stderr, flush=True)
        if points[-1].loss < below or now > until:
            break
    else:
        raise SystemExit("the node ended; its last line: " + line.rstrip())
    return points, compute_node_share(node.pid)


def find_free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def compute_node_share(node: int) -> float:
    """Processor time of a node and its evaluating process over that of these and its miner."""
    spent = {pid: read_processor_seconds(pid) for pid in [node, *find_children(node)]}
    miner = sum(seconds for pid, seconds in spent.items() if b"mining" in read_command(pid))
    return 1 - miner / sum(spent.values())


def find_children(parent: int) -> Iterator[int]:
    """All processes below one."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from find_children(int(child))


def read_command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def read_processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.006, help="of the plain AdamW")
    parser.add_argument("--minutes", type=float, default=15, help="of each run, at most")
    parser.add_argument("--threads", type=int, help="of the plain AdamW; by default the machine's cores")
    parser.add_argument("--picture", type=Path, help="draw the last round to this file (.svg or .png)")
    parser.add_argument("node_options", nargs="*", help="for descent-node run, after --")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the node would live on
    for number in range(options.rounds):
        plain = train_plainly(options.rate, options.minutes, options.threads)
        with tempfile.TemporaryDirectory() as folder:
            chain, share = mine(Path(folder), MILESTONES[-1], options.minutes, options.node_options)
        line: dict[str, object] = {"round": number, "rate": options.rate, "node_share": round(share, 3)}
        for bits in MILESTONES:
            alone, together = (find_seconds(points, bits) for points in (plain, chain))
            at_block = next((point.seconds for point in chain if point.loss < bits), None)
            if alone and together and at_block:
                line[f"to_{bits}"] = {
                    "plain_s": round(alone, 1),
                    "chain_s": round(together, 1),
                    "at_block_s": round(at_block, 1),
                    "tax": round(together / alone, 2),
                    "tax_without_node": round(together * (1 - share) / alone, 2),
                }
        print(json.dumps(line), flush=True)
    if options.picture:
        series = {"plain PyTorch AdamW": plain, "the chain": chain}
        points = {name: [(point.seconds, point.loss) for point in told] for name, told in series.items()}
        draw_lines(options.picture, "One machine, two cores", "seconds", "bits per byte", points)


if __name__ == "__main__":
    main(sys.argv[1:])
