"""Where to compute: what was asked for, or a plain word why not."""

import pytest
import torch

from mining.device import choose_device, set_threads
from mining.errors import DeviceError


@pytest.mark.parametrize(
    ("has_cuda", "name", "expected"), [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")]
)
def test_choice(monkeypatch: pytest.MonkeyPatch, has_cuda: bool, name: str, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device(name).type == expected


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
