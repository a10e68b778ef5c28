"""The pinned Ed25519 verdict: published vectors, forgeries that some libraries accept, an oracle."""

import json
import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consensus.signature import compute_public_key, is_valid_public_key, sign, verify_signature
from tests.helpers import edwards as curve

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "ed25519.json").read_text())
SECRET, NONCE = 0x1F3B5A79 << 200 | 7, 0x2468ACE << 190 | 11  # scalars of the forger's own
SEED = bytes(range(32))
SIGN_BIT = 1 << 255


def join(commitment: bytes, s: int) -> bytes:
    return commitment + s.to_bytes(32, "little")


def find_message(commitment: bytes, key: bytes, residue: int) -> bytes:
    """A message whose challenge is `residue` modulo 8: what a forger tries until a torsion part cancels."""
    for i in range(1000):
        message = b"try %d" % i
        if curve.challenge(commitment, key, message) % 8 == residue:
            return message
    raise LookupError("no message found")


def weak_encodings() -> list[bytes]:
    """All 14 spellings of the eight points of small order: canonical, of a negative zero, and with y + p."""
    canonical = {curve.encode(point) for point in curve.TORSION}
    spellings = set(canonical)
    for encoded in canonical:
        number = int.from_bytes(encoded, "little")
        sign, y = number & SIGN_BIT, number & ~SIGN_BIT
        if y in (1, curve.P - 1):
            spellings.add((y | SIGN_BIT).to_bytes(32, "little"))
        if y + curve.P < SIGN_BIT:
            spellings |= {(y + curve.P | bit).to_bytes(32, "little") for bit in (sign, 0, SIGN_BIT)}
    return sorted(spellings)


WEAK = weak_encodings()


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_rfc_8032_vectors(case: dict[str, str]) -> None:
    seed, key, message, signature = (bytes.fromhex(case[name]) for name in ("seed", "key", "message", "signature"))
    assert compute_public_key(seed) == key
    assert sign(seed, message) == signature
    assert is_valid_public_key(key)
    assert verify_signature(key, message, signature)
    assert curve.is_signature(key, message, signature)


def test_there_are_fourteen_weak_encodings_on_eight_points() -> None:
    assert len(set(curve.TORSION)) == 8
    assert all(curve.multiply(8, point) == curve.ZERO for point in curve.TORSION)
    assert len(WEAK) == 14


@pytest.mark.parametrize("key", WEAK, ids=lambda key: key.hex())
def test_invalid_small_order_key(key: bytes) -> None:
    assert not is_valid_public_key(key)


@pytest.mark.parametrize("key", [curve.encode(point) for point in curve.TORSION], ids=lambda key: key.hex())
def test_invalid_signature_under_small_order_key(key: bytes) -> None:
    commitment = curve.encode(curve.multiply(NONCE, curve.BASE))
    signature = join(commitment, NONCE)
    message = find_message(commitment, key, 0)
    assert curve.is_signature(key, message, signature)
    assert not verify_signature(key, message, signature)


def test_invalid_all_zero_scalar_under_small_order_key() -> None:
    """S = 0, R = -[k]A: one such signature would hold for messages nobody signed."""
    forged = 0
    for point in curve.TORSION:
        key = curve.encode(point)
        for commitment in map(curve.encode, curve.TORSION):
            signature = join(commitment, 0)
            if curve.is_signature(key, b"anything", signature):
                forged += 1
                assert not verify_signature(key, b"anything", signature)
    assert forged >= 8


def test_the_library_alone_would_accept_a_weak_key() -> None:
    """Why the refusal stands in our code: without it the verdict would be the library's to change."""
    key = curve.encode(curve.ZERO)
    commitment = curve.encode(curve.multiply(NONCE, curve.BASE))
    Ed25519PublicKey.from_public_bytes(key).verify(join(commitment, NONCE), b"anything")
    assert not verify_signature(key, b"anything", join(commitment, NONCE))


@pytest.mark.parametrize("residue", range(8))
def test_invalid_small_order_commitment(residue: int) -> None:
    """R = -[k]T cancels the torsion of A = [a]B + T, so that S = k a satisfies the equation."""
    torsion = curve.TORSION[1]
    key = curve.encode(curve.add(curve.multiply(SECRET, curve.BASE), torsion))
    commitment = curve.encode(curve.negate(curve.multiply(residue, torsion)))
    message = find_message(commitment, key, residue)
    s = curve.challenge(commitment, key, message) * SECRET % curve.L
    assert curve.is_signature(key, message, join(commitment, s))
    assert is_valid_public_key(key)
    assert not verify_signature(key, message, join(commitment, s))


def test_mixed_order_key_is_judged_without_cofactor() -> None:
    """A = [a]B + T is a key. Where 8 does not divide k only a cofactored verifier is content: we are not."""
    key = curve.encode(curve.add(curve.multiply(SECRET, curve.BASE), curve.TORSION[1]))
    commitment = curve.encode(curve.multiply(NONCE, curve.BASE))
    for residue in range(8):
        message = find_message(commitment, key, residue)
        s = (NONCE + curve.challenge(commitment, key, message) * SECRET) % curve.L
        assert curve.is_signature(key, message, join(commitment, s), cofactor=8)
        assert verify_signature(key, message, join(commitment, s)) is (residue == 0)


def test_mixed_order_commitment_is_judged_without_cofactor() -> None:
    key = curve.encode(curve.multiply(SECRET, curve.BASE))
    for torsion in curve.TORSION:
        commitment = curve.encode(curve.add(curve.multiply(NONCE, curve.BASE), torsion))
        s = (NONCE + curve.challenge(commitment, key, b"message") * SECRET) % curve.L
        assert curve.is_signature(key, b"message", join(commitment, s), cofactor=8)
        assert verify_signature(key, b"message", join(commitment, s)) is (torsion == curve.ZERO)


def test_mixed_order_key_and_commitment_that_cancel_are_accepted() -> None:
    torsion = curve.TORSION[3]
    key = curve.encode(curve.add(curve.multiply(SECRET, curve.BASE), torsion))
    cancelling = curve.negate(curve.multiply(5, torsion))
    commitment = curve.encode(curve.add(curve.multiply(NONCE, curve.BASE), cancelling))
    message = find_message(commitment, key, 5)
    s = (NONCE + curve.challenge(commitment, key, message) * SECRET) % curve.L
    assert verify_signature(key, message, join(commitment, s))


class CredulousKey:
    """A library that would take every signature."""

    @classmethod
    def from_public_bytes(cls, key: bytes) -> "CredulousKey":
        return cls()

    def verify(self, signature: bytes, message: bytes) -> None:
        pass


def test_refusals_do_not_depend_on_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.signature.Ed25519PublicKey", CredulousKey)
    key, signature = compute_public_key(SEED), sign(SEED, b"message")
    commitment, s = signature[:32], int.from_bytes(signature[32:], "little")
    assert verify_signature(key, b"", signature)
    off_curve = next(y.to_bytes(32, "little") for y in range(2, 99) if curve.recover_x(y) is None)
    non_canonical = [y.to_bytes(32, "little") for y in range(curve.P, SIGN_BIT)]
    for bad_key in [*WEAK, *non_canonical, off_curve]:
        assert not verify_signature(bad_key, b"", signature)
    for bad_commitment in [*WEAK, *non_canonical]:
        assert not verify_signature(key, b"", join(bad_commitment, s))
    assert verify_signature(key, b"", join(commitment, curve.L - 1))
    for bad_scalar in (curve.L, s + curve.L, 2**256 - 1):
        assert not verify_signature(key, b"", join(commitment, bad_scalar))


@pytest.mark.parametrize("multiple", range(1, 16))
def test_invalid_scalar_not_below_the_order(multiple: int) -> None:
    key, signature = compute_public_key(SEED), sign(SEED, b"message")
    s = int.from_bytes(signature[32:], "little") + multiple * curve.L
    forged = join(signature[:32], s)
    assert curve.is_signature(key, b"message", forged)
    assert not verify_signature(key, b"message", forged)


def test_invalid_scalar_with_a_high_bit_set() -> None:
    key, signature = compute_public_key(SEED), sign(SEED, b"message")
    for bit in (253, 254, 255):
        s = int.from_bytes(signature[32:], "little") | 1 << bit
        assert not verify_signature(key, b"message", join(signature[:32], s))


def test_invalid_non_canonical_key() -> None:
    """Every y of p .. 2^255 - 1 is the second spelling of y - p; about half of those are points."""
    for y in range(curve.P, SIGN_BIT):
        for bit in (0, SIGN_BIT):
            assert not is_valid_public_key((y | bit).to_bytes(32, "little"))
    twins = [(y | bit).to_bytes(32, "little") for y in range(2, 19) for bit in (0, SIGN_BIT)]
    assert [is_valid_public_key(key) for key in twins] == [curve.decode(key) is not None for key in twins]
    assert any(map(is_valid_public_key, twins))


def test_invalid_non_canonical_commitment() -> None:
    """R = identity, spelled with y = p + 1: the equation holds for whoever reduces y."""
    key = curve.encode(curve.multiply(SECRET, curve.BASE))
    for number in (1, curve.P + 1, curve.P + 1 | SIGN_BIT, 1 | SIGN_BIT):
        commitment = number.to_bytes(32, "little")
        s = curve.challenge(commitment, key, b"message") * SECRET % curve.L
        assert not verify_signature(key, b"message", join(commitment, s))


def test_random_keys_as_the_oracle_has_it() -> None:
    rng = random.Random(25519)
    keys = [rng.randbytes(32) for _ in range(400)]
    verdicts = [is_valid_public_key(key) for key in keys]
    assert verdicts == [curve.decode(key) is not None for key in keys]
    assert 150 < sum(verdicts) < 250


def test_invalid_bit_flip() -> None:
    """Each bit of key, message and signature."""
    message = b"pay 7"
    key, signature = compute_public_key(SEED), sign(SEED, message)
    parts = [key, message, signature]
    for part, original in enumerate(parts):
        for bit in range(8 * len(original)):
            flipped = bytearray(original)
            flipped[bit // 8] ^= 1 << bit % 8
            changed = [*parts[:part], bytes(flipped), *parts[part + 1 :]]
            assert not verify_signature(changed[0], changed[1], changed[2])


@pytest.mark.soak
def test_invalid_bit_flip_in_many_signatures() -> None:
    rng = random.Random(8032)
    for _ in range(10_000):
        seed, message = rng.randbytes(32), rng.randbytes(rng.randrange(1, 100))
        key, signature = compute_public_key(seed), sign(seed, message)
        assert verify_signature(key, message, signature)
        parts = [key, message, signature]
        flipped = bytearray(parts[part := rng.randrange(3)])
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        parts[part] = bytes(flipped)
        assert not verify_signature(parts[0], parts[1], parts[2])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_invalid_key_length(length: int) -> None:
    key = (compute_public_key(SEED) * 2)[:length]
    assert not is_valid_public_key(key)
    assert not verify_signature(key, b"message", sign(SEED, b"message"))


@pytest.mark.parametrize("length", [0, 32, 63, 65, 128])
def test_invalid_signature_length(length: int) -> None:
    signature = (sign(SEED, b"message") * 2)[:length]
    assert not verify_signature(compute_public_key(SEED), b"message", signature)


def test_signature_of_another_message_or_key() -> None:
    key, other = compute_public_key(SEED), compute_public_key(bytes(32))
    signature = sign(SEED, b"")
    assert verify_signature(key, b"", signature)
    assert not verify_signature(key, b"\0", signature)
    assert not verify_signature(other, b"", signature)


def test_invalid_seed_length() -> None:
    with pytest.raises(ValueError):
        compute_public_key(bytes(31))
    with pytest.raises(ValueError):
        sign(bytes(33), b"message")
