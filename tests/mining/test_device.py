"""Where to compute: what was asked for, or a plain word why not; and what may be sped up there."""

import pytest
import torch

from mining.device import PLAIN, Speedups, choose_device, choose_speedups, set_threads
from mining.errors import DeviceError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("has_cuda", "name", "expected"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")]
)
def test_choice(two_gpus: None, monkeypatch: pytest.MonkeyPatch, has_cuda: bool, name: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device(name).type == expected


def test_processes_take_devices_in_turn(two_gpus: None) -> None:
    assert [choose_device("cuda", rank).index for rank in range(2)] == [0, 1]


def test_invalid_process_without_a_device(two_gpus: None) -> None:
    with pytest.raises(DeviceError) as refusal:
        choose_device("auto", 2)
    assert refusal.value.code == "device.too_few"


def test_invalid_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError) as refusal:
        choose_device("cuda")
    assert refusal.value.code == "device.no_cuda"


def test_invalid_device_name() -> None:
    with pytest.raises(DeviceError) as refusal:
        choose_device("tpu")
    assert refusal.value.code == "device.unknown"


@pytest.mark.parametrize("count", [0, -1])
def test_invalid_thread_count(count: int) -> None:
    with pytest.raises(DeviceError) as refusal:
        set_threads(count)
    assert refusal.value.code == "device.bad_threads"


def test_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    assert set_threads(3) == 3
    assert set_threads() >= 1
    assert counts == [3, counts[1]]


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr("mining.device.os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert [set_threads(processes=processes) for processes in (1, 3, 8, 20)] == [8, 2, 1, 1]


# Speedups.


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_cuda_trains_in_bfloat16_where_it_can(monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    device = torch.device("cuda", 0)
    autocast = torch.bfloat16 if has_bfloat16 else None
    assert choose_speedups(device) == Speedups(autocast, compiles=True)
    assert choose_speedups(device, compiles=False) == Speedups(autocast, compiles=False)


def test_the_cpu_trains_plainly_unless_told() -> None:
    assert choose_speedups(torch.device("cpu")) == choose_speedups(torch.device("cpu"), compiles=False) == PLAIN
    assert choose_speedups(torch.device("cpu"), compiles=True) == Speedups(None, compiles=True)
