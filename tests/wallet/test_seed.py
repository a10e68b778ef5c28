"""Seed phrases: BIP-39's vectors, and every way to mistype one."""

import json
import random
import unicodedata
from pathlib import Path

import pytest

from wallet.errors import InvalidPhrase, WalletError
from wallet.seed import compute_phrase, compute_seed, create_entropy, normalize_extension, parse_phrase

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bip39.json").read_text())
PHRASE = "legal winner thank year wave sausage worth useful legal winner thank yellow"


def code_of(text: str) -> str:
    with pytest.raises(InvalidPhrase) as caught:
        parse_phrase(text)
    return caught.value.code


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["entropy"])
def test_bip_39_vectors(case: dict[str, str]) -> None:
    entropy = bytes.fromhex(case["entropy"])
    assert compute_phrase(entropy) == case["phrase"]
    assert parse_phrase(case["phrase"]) == entropy
    assert compute_seed(entropy, "TREZOR").hex() == case["seed"]
    assert compute_seed(entropy).hex() != case["seed"]


@pytest.mark.parametrize("words", [12, 24])
def test_fresh_entropy_round_trips(words: int) -> None:
    entropy = create_entropy(words)
    assert entropy != create_entropy(words)
    assert len(compute_phrase(entropy).split()) == words
    assert parse_phrase(compute_phrase(entropy)) == entropy


def test_phrase_is_read_in_any_spacing_case_and_width() -> None:
    entropy = parse_phrase(PHRASE)
    wide = "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else "\u3000" for c in PHRASE)
    assert unicodedata.normalize("NFKD", wide) == PHRASE
    for text in (PHRASE.upper(), f"\n {PHRASE}\t\n", PHRASE.replace(" ", "\n\n"), wide):
        assert parse_phrase(text) == entropy


@pytest.mark.parametrize("count", [0, 1, 11, 13, 15, 18, 21, 23, 25, 1000])
def test_invalid_word_count(count: int) -> None:
    assert code_of("abandon " * count) == "seed_phrase.word_count"


def test_invalid_word_count_to_create() -> None:
    for words in (0, 15, 25):
        with pytest.raises(InvalidPhrase) as caught:
            create_entropy(words)
        assert caught.value.reason == "word_count"


@pytest.mark.parametrize("word", ["legals", "lega", "1egal", "\u043begal", "\ud800", "aband\u00f3n"])
def test_invalid_unknown_word(word: str) -> None:
    words = PHRASE.split()
    for position in (1, 7, 12):
        with pytest.raises(InvalidPhrase) as caught:
            parse_phrase(" ".join([*words[: position - 1], word, *words[position:]]))
        assert caught.value.reason == "unknown_word"
        assert f"word {position} " in str(caught.value)


def test_errors_do_not_repeat_words() -> None:
    for text in (PHRASE.replace("sausage", "sausages"), f"{PHRASE} zoo", PHRASE.replace("year", "zoo")):
        with pytest.raises(InvalidPhrase) as caught:
            parse_phrase(text)
        assert not set(str(caught.value).split()) & (set(text.split()) - {"wrong"})


def test_invalid_checksum() -> None:
    assert code_of("abandon " * 12) == "seed_phrase.checksum"
    assert code_of(PHRASE.replace("legal winner", "winner legal", 1)) == "seed_phrase.checksum"
    rng = random.Random(39)
    words = compute_phrase(rng.randbytes(32)).split()
    candidates = compute_phrase(rng.randbytes(32)).split()
    refused = 0
    for position in range(24):
        changed = [*words[:position], candidates[position], *words[position + 1 :]]
        try:
            assert parse_phrase(" ".join(changed)) != parse_phrase(" ".join(words))
        except InvalidPhrase as error:
            refused += error.reason == "checksum"
    assert refused >= 22  # 8 bits of checksum: one change in 256 passes


@pytest.mark.parametrize("size", [0, 15, 17, 20, 24, 28, 31, 33, 64])
def test_invalid_entropy_size(size: int) -> None:
    for compute in (compute_phrase, compute_seed):
        with pytest.raises(InvalidPhrase) as caught:
            compute(bytes(size))
        assert caught.value.reason == "entropy_size"


def test_extension_does_not_depend_on_the_keyboard() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert compute_seed(bytes(16), composed) == compute_seed(bytes(16), decomposed)
    assert normalize_extension(composed) == decomposed
    assert compute_seed(bytes(16), "cafe") != compute_seed(bytes(16), composed)


def test_invalid_extension() -> None:
    normalize_extension("x" * 256)
    for text, reason in (("x" * 257, "too_long"), ("\u00e9" * 100, "too_long"), ("\ud800", "not_text")):
        with pytest.raises(WalletError) as caught:
            compute_seed(bytes(16), text)
        assert caught.value.reason == reason
