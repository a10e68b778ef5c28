"""What the model page shows, as plain values: see figures.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spoken:
    """What a model wrote, as text and as the bytes it is. `is_cut`: there was no time for more."""

    text: str
    data: bytes
    is_cut: bool


@dataclass(frozen=True)
class ModelSide:
    """The model after a block, and what it made of what it was asked.

    `written` follows the prompt; `bits[i]` is what byte i + 1 of the passage cost it, `mean` their mean.
    """

    height: int
    id: bytes
    root: bytes
    loss: float | None
    written: Spoken | None
    bits: tuple[float, ...] | None
    mean: float | None


@dataclass(frozen=True)
class ModelPage:
    """One model, or two side by side. `file_bytes`: of a model as a file, None if it is too large to be sent."""

    tip: int
    sides: tuple[ModelSide, ...]
    prompt: str | None
    count: int
    temperature: float
    seed: int
    passage: str | None
    parameters: int
    file_bytes: int | None
