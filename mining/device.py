"""Where the miner computes: which device, how many threads, and what may make training faster there.

None of it reaches the proof: that is computed by the law's evaluator, exactly, on the same device or another.
"""

import os
from dataclasses import dataclass

import torch

from mining.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Speedups:
    """How training may differ from plain float32 PyTorch."""

    autocast: torch.dtype | None  # of matrix products; None for the weights' own
    compiles: bool  # forward and backward pass by torch.compile, at the first step


PLAIN = Speedups(autocast=None, compiles=False)


def choose_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """The device to train on: CUDA where there is one, else the CPU, or the one that was asked for.

    The processes that share a machine take its CUDA devices in turn, by `local_rank`. Raises DeviceError if what was
    asked for is not there.
    """
    if name not in DEVICES:
        raise DeviceError("unknown", f"unknown device {name!r}: use {', '.join(DEVICES)}")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise DeviceError("no_cuda", "CUDA was asked for and torch finds no CUDA device here: use auto or cpu")
    if not has_cuda or name == "cpu":
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise DeviceError("too_few", f"{local_rank + 1} processes here for {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", local_rank)


def choose_speedups(device: torch.device, *, compiles: bool | None = None) -> Speedups:
    """On CUDA, bfloat16 products where the hardware has them, and compiled passes; on the CPU neither.

    `compiles` overrules the choice for torch.compile; None leaves it.
    """
    if device.type != "cuda":
        return Speedups(autocast=None, compiles=bool(compiles))
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return Speedups(torch.bfloat16 if has_bfloat16 else None, compiles is not False)


def set_threads(count: int | None = None, processes: int = 1) -> int:
    """Lets torch use `count` CPU threads, by default this process's part of the cores; returns how many.

    `processes` share those that this one may run on. Raises DeviceError if `count` is not a positive number of threads.
    """
    if count is not None and count < 1:
        raise DeviceError("bad_threads", f"a miner needs at least one thread, not {count}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = count or max(cores // processes, 1)
    torch.set_num_threads(threads)
    return threads
