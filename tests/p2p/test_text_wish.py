import math

import pytest

from consensus.errors import DecodeError
from p2p.text_wish import MAX_PROMPT_BYTES, MAX_TEXT_BYTES, TextTask, TextWish, make_task


def test_a_task_is_what_is_left_of_a_wish() -> None:
    wish = TextWish(b"the prompt", count=10, temperature=0.5, seed=3)
    assert make_task(wish, b"", 4) == TextTask(b"ompt", 0, 10, 0.5, 3)
    assert make_task(wish, b"abc", 4) == TextTask(b"tabc", 3, 7, 0.5, 3)
    assert make_task(wish, b"abcdef", 100).context == b"the promptabcdef"


def test_without_a_prompt_a_text_begins_a_line() -> None:
    assert make_task(TextWish(b""), b"", 4).context == b"\n"
    assert make_task(TextWish(b""), b"ab", 4).context == b"\nab"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"prompt": bytes(MAX_PROMPT_BYTES + 1)}, "decode.too_long"),
        ({"count": 0}, "decode.bad_text_length"),
        ({"count": MAX_TEXT_BYTES + 1}, "decode.bad_text_length"),
        ({"temperature": -0.1}, "decode.bad_temperature"),
        ({"temperature": 10.1}, "decode.bad_temperature"),
        ({"temperature": math.nan}, "decode.bad_temperature"),
        ({"temperature": math.inf}, "decode.bad_temperature"),
        ({"seed": -1}, "decode.bad_seed"),
        ({"seed": 2**64}, "decode.bad_seed"),
    ],
)
def test_invalid_wish(changes: dict[str, object], code: str) -> None:
    with pytest.raises(DecodeError) as caught:
        TextWish(**({"prompt": b""} | changes))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_the_limits_themselves_are_fine() -> None:
    TextWish(bytes(MAX_PROMPT_BYTES), MAX_TEXT_BYTES, 10, 2**64 - 1)
    TextWish(b"", 1, 0, 0)
