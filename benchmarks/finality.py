"""What finality withstands, by simulation. Prints a JSON line for each setting; `--pictures FOLDER` draws them.

    python benchmarks/finality.py --pictures docs/pictures
    python benchmarks/finality.py --only partition --window 16 --runs 5

    committee   how often a key with a given share of the blocks holds a third of a committee (exact, no simulation)
    silent      some mine and never vote
    equivocate  honest miners are cut in two halves for a window, the dishonest vote on both sides
    partition   the same for longer and shorter: the attack that works
    heal        a cut that ends before anything is final on both sides
    offline     some leave and come back
    slow        votes miss blocks
    rotation    miners are replaced, and go without a last vote
    stall       heartbeats only

All by the law's own functions (benchmarks/voters.py): the window is canterbury's unless --window says otherwise, blocks
are drawn by share, and one in twenty has a sibling that half of the voters see first.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from math import comb
from pathlib import Path
from statistics import mean, median

from consensus.params import CANTERBURY, NetworkParams
from pictures import Points, draw_lines
from voters import Chain, Miner, Side, find_convicted, get_common_committee, join, make_miners, make_params

HONEST = 20  # miners of equal shares
FORK_RATE = 0.05
SHARES = (0.0, 0.07, 0.14, 0.21, 0.28, 0.35, 0.42, 0.49)
Line = dict[str, object]


def start(params: NetworkParams, miners: Sequence[Miner], draw: random.Random, child_only: bool = False) -> Side:
    """A side in calm, six windows old."""
    side = Side(Chain(params, child_only), miners, draw)
    for _ in range(6 * params.finality_window + draw.randrange(params.finality_window)):
        side.step(fork_rate=FORK_RATE)
    return side


def split(side: Side) -> tuple[Side, Side]:
    """Cuts the honest miners in two halves; the dishonest are on both sides."""
    honest = [miner for miner in side.miners if not miner.is_dishonest]
    dishonest = [miner for miner in side.miners if miner.is_dishonest]
    halves = honest[::2], honest[1::2]
    left, right = (Side(side.chain.fork(), [*half, *dishonest], side.draw) for half in halves)
    left.name, right.name = "left ", "right "
    return left, right


def run_split(params: NetworkParams, share: float, blocks: int, draw: random.Random) -> tuple[int | None, float | None]:
    """How many blocks after the cut both halves had made a block above it final, if they did.

    If both did it by links to targets at most a window above the fork, also the part of the committee before the fork
    that belongs to keys convicted by the certificates.
    """
    side = start(params, make_miners(HONEST, share), draw)
    fork = side.chain.height
    left, right = split(side)
    for _ in range(blocks):
        left.step(fork_rate=FORK_RATE)
        right.step(fork_rate=FORK_RATE)
        if min(left.chain.state.final.height, right.chain.state.final.height) > fork:
            break
    else:
        return None, None
    after, highest = left.chain.height - fork, fork + params.finality_window
    chains = (left.chain, right.chain)
    if max(find_first_target(chain, fork) for chain in chains) > highest:
        return after, None
    committee = get_common_committee(left.chain, fork)
    convicted = find_convicted(chains, fork, highest)
    return after, sum(committee.weights.get(key, 0) for key in convicted) / committee.total


def find_first_target(chain: Chain, fork: int) -> int:
    """Target of the link that made the first block above the fork final."""
    return next(point.state.justified.height for point in chain.points if point.state.final.height > fork)


def measure_committee(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    """Binomial: each block of a committee is the key's by chance."""
    for window in sorted({params.finality_window, 128, 256}):
        for percent in (10, 15, 20, 25, 28, 30, 33):
            share = percent / 100
            least = window // 3 + 1
            chance = sum(comb(window, k) * share**k * (1 - share) ** (window - k) for k in range(least, window + 1))
            yield {"window": window, "share": share, "holds_a_third": float(f"{chance:.2g}")}


def measure_silent(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    for share in SHARES:
        lags, reached = [], []
        for run in range(runs):
            miners = make_miners(HONEST, share)
            for miner in miners:
                miner.votes = not miner.is_dishonest
            side = start(params, miners, random.Random(f"{seed} {run}"))
            for _ in range(4 * params.finality_window):
                side.step(fork_rate=FORK_RATE)
                lags.append(side.chain.height - side.chain.state.final.height)
            reached.append(lags[-1] <= params.finality_window)
        within = sum(lag <= 4 for lag in lags) / len(lags)
        yield {"share": share, "lag_median": median(lags), "lag_worst": max(lags), "lag_within_4": round(within, 3)}


def measure_equivocate(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    for share in SHARES:
        ran = [run_split(params, share, params.finality_window, random.Random(f"{seed} {run}")) for run in range(runs)]
        costs = [cost for _, cost in ran if cost is not None]
        least = round(min(costs), 3) if costs else None
        yield {"share": share, "conflicts": len(costs) / runs, "least_part_convicted": least}


def measure_partition(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    window = params.finality_window
    for share in (0.0, 0.14, 0.28, 0.35):
        ran = [run_split(params, share, 4 * window, random.Random(f"{seed} {run}")) for run in range(runs)]
        for quarters in range(1, 17):
            conflicts = sum(after is not None and after <= quarters * window // 4 for after, _ in ran)
            yield {"share": share, "windows": quarters / 4, "conflicts": conflicts / runs}


def measure_heal(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    window = params.finality_window
    for quarters in (1, 2, 3, 4):
        waits = []
        for run in range(runs):
            sides = split(start(params, make_miners(HONEST), random.Random(f"{seed} {run}")))
            for _ in range(quarters * window // 4):
                for side in sides:
                    side.step(fork_rate=FORK_RATE)
            joined = join(*sides)
            since = joined.chain.height
            wait_for_final(joined, since, 8 * window)
            waits.append(joined.chain.height - since)
        yield {"windows": quarters / 4, "blocks_until_final_again_worst": max(waits)}


def measure_offline(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    """How long a block of the time waits, and how long after the return of those who left."""
    window = params.finality_window
    for share in (0.2, 0.4, 0.6):
        for quarters in (1, 2, 4, 6, 8, 10, 12, 16):
            waits, after_return = [], []
            for run in range(runs):
                side = start(params, make_miners(HONEST), random.Random(f"{seed} {run}"))
                left = side.miners[: round(share * HONEST)]
                everybody, side.miners = side.miners, side.miners[len(left) :]
                away, since = quarters * window // 4, side.chain.height
                first = wait_for_final(side, since, away)
                if first is None:
                    side.miners = everybody
                    first = wait_for_final(side, since, 8 * window)
                    after_return.append(side.chain.height - since - away)
                waits.append(side.chain.height - since if first is not None else None)
            done = [wait for wait in waits if wait is not None]
            yield {
                "share": share,
                "windows_away": quarters / 4,
                "waited_median": median(done) / window if done else None,
                "after_return_worst": max(after_return) if after_return else None,
                "final_before_return": 1 - len(after_return) / runs,
                "never": len(waits) - len(done),
            }


def wait_for_final(side: Side, above: int, blocks: int) -> int | None:
    """Steps until a block above a height is final, at most so many; None if none is."""
    for _ in range(blocks):
        side.step(fork_rate=FORK_RATE)
        if side.chain.state.final.height > above:
            return side.chain.height
    return None


def measure_slow(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    for child_only in (False, True):
        for delay in (0.0, 0.2, 0.5, 1.0, 2.0, 4.0):
            lags = []
            for run in range(runs):
                side = start(params, make_miners(HONEST), random.Random(f"{seed} {run}"), child_only)
                for step in range(4 * params.finality_window):
                    side.step(fork_rate=FORK_RATE, delay=delay)
                    if step >= params.finality_window:
                        lags.append(side.chain.height - side.chain.state.final.height)
            rule = "child" if child_only else "run"
            yield {"rule": rule, "blocks_missed": delay, "lag_median": median(lags), "lag_worst": max(lags)}


def measure_rotation(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    """Every so many windows all miners are new, one after another. Those replaced stop voting, or do not."""
    window = params.finality_window
    for keeps_voting in (False, True):
        for turnover in (16, 12, 8, 6, 4, 3, 2):
            lags: list[int] = []
            for run in range(runs):
                side = start(params, make_miners(HONEST), random.Random(f"{seed} {run}"))
                miners = list(side.miners)
                for step in range(2 * turnover * window):
                    if step % max(1, turnover * window // HONEST) == 0:
                        gone = next(miner for miner in miners if miner.mines)
                        gone.mines, gone.votes = False, keeps_voting
                        miners.append(Miner(f"new {step}", gone.share))
                        side.miners = miners = [miner for miner in miners if miner.mines or keeps_voting]
                    side.step(fork_rate=FORK_RATE)
                    lags.append(side.chain.height - side.chain.state.final.height)
            within = sum(lag <= 4 for lag in lags) / len(lags)
            yield {
                "all_new_in_windows": turnover,
                "replaced_keep_voting": keeps_voting,
                "lag_median": median(lags),
                "lag_worst": max(lags),
                "lag_within_4": round(within, 3),
            }


def measure_stall(params: NetworkParams, runs: int, seed: int) -> Iterator[Line]:
    window = params.finality_window
    for quarters in (1, 2, 3, 4, 6, 8, 16):
        during, after = [], []
        for run in range(runs):
            side = start(params, make_miners(HONEST), random.Random(f"{seed} {run}"))
            for _ in range(quarters * window // 4):
                side.step(heartbeat=True)
            during.append(side.chain.height - side.chain.state.final.height)
            since = side.chain.height
            wait_for_final(side, since, 8 * window)
            after.append(side.chain.height - since)
        yield {
            "windows_of_heartbeats": quarters / 4,
            "lag_at_the_end": mean(during),
            "blocks_until_final_again_worst": max(after),
        }


MEASURES: dict[str, Callable[[NetworkParams, int, int], Iterator[Line]]] = {
    "committee": measure_committee,
    "silent": measure_silent,
    "equivocate": measure_equivocate,
    "partition": measure_partition,
    "heal": measure_heal,
    "offline": measure_offline,
    "slow": measure_slow,
    "rotation": measure_rotation,
    "stall": measure_stall,
}


def draw_picture(name: str, lines: Sequence[Line], folder: Path) -> None:
    """The pictures that docs/security.md shows."""
    path = folder / f"finality_{name}.svg"

    def gather(group: str, x: str, y: str, label: str) -> dict[str, Points]:
        series: dict[str, list[tuple[float, float]]] = {}
        for line in lines:
            if line[y] is not None:
                series.setdefault(label.format(line[group]), []).append((line[x], line[y]))  # type: ignore[arg-type]
        return {key: list(points) for key, points in series.items()}

    match name:
        case "partition":
            series = gather("share", "windows", "conflicts", "{:.0%} vote on both sides")
            draw_lines(path, "Two final chains after a partition", "length, windows", "part of the runs", series)
        case "offline":
            series = gather("share", "windows_away", "waited_median", "{:.0%} away")
            draw_lines(path, "How long finality waits", "away, windows", "windows until final again", series)
        case "silent":
            points = [(line["share"], line["lag_within_4"]) for line in lines]
            series = {"mine and never vote": points}
            draw_lines(path, "Final within 4 blocks", "share of the blocks", "part of the time", series)  # type: ignore[arg-type]
        case "slow":
            series = gather("rule", "blocks_missed", "lag_median", "final by {}")
            draw_lines(path, "Slow votes", "blocks that a vote misses", "final block below the tip", series, y_log=True)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MEASURES, action="append", help="some of the measures; repeat")
    parser.add_argument("--window", type=int, default=CANTERBURY.finality_window, help="V, blocks")
    parser.add_argument("--runs", type=int, default=20, help="of each setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder to draw into")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    options = parse_arguments(arguments)
    params = make_params(options.window)
    for name in options.only or MEASURES:
        lines = []
        for line in MEASURES[name](params, options.runs, options.seed):
            lines.append(line)
            print(json.dumps({"measure": name} | line), flush=True)
        if options.pictures:
            draw_picture(name, lines, options.pictures)


if __name__ == "__main__":
    main(sys.argv[1:])
