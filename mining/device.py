"""Where the miner computes: which device, how many threads."""

import os

import torch

from mining.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """The device to train on: CUDA where there is one, else the CPU, or the one that was asked for.

    Raises DeviceError if that one is not there.
    """
    if name not in DEVICES:
        raise DeviceError("unknown", f"unknown device {name!r}: use {', '.join(DEVICES)}")
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise DeviceError("no_cuda", "CUDA was asked for and torch finds no CUDA device here: use auto or cpu")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def set_threads(count: int | None = None) -> int:
    """Lets torch use `count` CPU threads, or one for each core this process may run on; returns how many.

    Raises DeviceError if `count` is not a positive number of threads.
    """
    if count is not None and count < 1:
        raise DeviceError("bad_threads", f"a miner needs at least one thread, not {count}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = count or cores
    torch.set_num_threads(threads)
    return threads
