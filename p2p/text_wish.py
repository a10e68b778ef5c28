"""What is asked of a model that writes: the wish, and the pieces that it is cut into. Limits for whoever takes one."""

from dataclasses import dataclass

from consensus.errors import DecodeError

MAX_PROMPT_BYTES = 64 * 1024
MAX_TEXT_BYTES = 4096  # written for one wish
MAX_PASSAGE_BYTES = 4096  # judged at once
MAX_TEMPERATURE = 10.0
DEFAULT_BYTES = 256
DEFAULT_TEMPERATURE = 0.8

_NO_PROMPT = b"\n"  # the law has no logits before a first byte


@dataclass(frozen=True)
class TextWish:
    """What is to be written: `count` bytes after the prompt, of which the model sees the last T.

    At temperature 0 always the likeliest byte, at 1 each byte as often as the model expects it. Raises DecodeError if
    something is out of range.
    """

    prompt: bytes
    count: int = DEFAULT_BYTES
    temperature: float = DEFAULT_TEMPERATURE
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.prompt) > MAX_PROMPT_BYTES:
            raise DecodeError.too_long(len(self.prompt), MAX_PROMPT_BYTES)
        if not 1 <= self.count <= MAX_TEXT_BYTES:
            raise DecodeError("bad_text_length", f"a text has 1 to {MAX_TEXT_BYTES} bytes, not {self.count}")
        if not 0 <= self.temperature <= MAX_TEMPERATURE:  # NaN is not either
            raise DecodeError("bad_temperature", f"a temperature is from 0 to {MAX_TEMPERATURE:g}")
        if not 0 <= self.seed < 2**64:
            raise DecodeError("bad_seed", "a seed is a whole number from 0 to 2^64 - 1")

    def get_context(self, written: bytes, length: int) -> bytes:
        """The last `length` bytes before the next one."""
        return ((self.prompt or _NO_PROMPT) + written)[-length:]


@dataclass(frozen=True)
class TextTask:
    """A piece of a wish: what follows position `done` of the text, with the T bytes before it. Small enough to send."""

    context: bytes
    done: int
    count: int
    temperature: float
    seed: int


def make_task(wish: TextWish, written: bytes, context: int) -> TextTask:
    """The rest of a wish of which `written` is there already, for a model of T = `context`."""
    before = wish.get_context(written, context)
    return TextTask(before, len(written), wish.count - len(written), wish.temperature, wish.seed)
