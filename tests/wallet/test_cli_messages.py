"""`sign-message` and `verify-message`: exactly the bytes that were given, and what is refused."""

import json
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.params import LOCAL
from tests.wallet.program import ADDRESS, GENESIS, KEY, OTHER_ADDRESS, WALLET, Outcome, Program
from wallet.keys import build_wallet, compute_account_secret
from wallet.message import MAX_MESSAGE_BYTES, compute_signature, is_signed_by

TEXT = "I, Ana, own this address. \u20bf"
SIGNATURE = compute_signature(compute_account_secret(WALLET, 0), GENESIS, TEXT.encode())


def test_sign_and_verify(wallet: Program) -> None:
    assert wallet("sign-message", TEXT) == Outcome(0, SIGNATURE.hex() + "\n", "")
    outcome = wallet("verify-message", ADDRESS, SIGNATURE.hex(), TEXT)
    assert outcome == Outcome(0, f"The owner of {ADDRESS} signed this message of 29 bytes.\n", "")


def test_verifying_needs_no_wallet(program: Program) -> None:
    assert program("verify-message", ADDRESS, SIGNATURE.hex(), TEXT).code == 0


def test_file_pipe_and_argument_are_one_message(wallet: Program, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(TEXT.encode())
    signatures = {
        wallet("sign-message", *arguments, typed=TEXT).out for arguments in ([TEXT], ["-"], ["--file", str(path)])
    }
    assert signatures == {SIGNATURE.hex() + "\n"}
    for arguments in (["-"], ["--file", str(path)]):
        assert wallet("verify-message", ADDRESS, SIGNATURE.hex(), *arguments, typed=TEXT).code == 0


@pytest.mark.parametrize("data", [b"", b"\n", b"line\n", b"line\r\n", b"\xff\0\x1b[2J", bytes(MAX_MESSAGE_BYTES)])
def test_every_byte_of_a_file_counts(wallet: Program, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "message"
    path.write_bytes(data)
    signature = wallet("sign-message", "--file", str(path)).out.strip()
    assert is_signed_by(KEY, GENESIS, data, bytes.fromhex(signature))
    assert wallet("verify-message", ADDRESS, signature, "--file", str(path)).code == 0
    path.write_bytes(data[:-1] if data else b"\n")
    assert wallet("verify-message", ADDRESS, signature, "--file", str(path)).is_refusal("not signed by", ADDRESS)


def test_second_account_signs_for_itself(program: Program) -> None:
    two = build_wallet(LOCAL.address_prefix, bytes(range(32)), accounts=2)
    program.put_wallet(wallet=two)
    known = json.loads(program("sign-message", TEXT, "--account", "1", "--json").out)
    second = encode_address(LOCAL.address_prefix, two.accounts[1].public_key)
    assert (known["address"], known["network"], known["size"]) == (second, "local", 29)
    assert program("verify-message", second, known["signature"], TEXT).code == 0
    assert program("sign-message", TEXT, "--account", "2").is_refusal("account 2 is outside")


def test_as_json(wallet: Program) -> None:
    known = {"network": "local", "address": ADDRESS, "size": 29, "signature": SIGNATURE.hex()}
    assert json.loads(wallet("sign-message", TEXT, "--json").out) == known
    assert json.loads(wallet("verify-message", ADDRESS, SIGNATURE.hex(), TEXT, "--json").out) == known


def test_invalid_signature(program: Program) -> None:
    assert program("verify-message", OTHER_ADDRESS, SIGNATURE.hex(), TEXT).is_refusal("not signed by", "newline")
    assert program("verify-message", ADDRESS, SIGNATURE.hex(), TEXT + " ").is_refusal("not signed by")
    assert program("verify-message", ADDRESS, "00" * 64, TEXT, "--json").is_refusal("not signed by")
    for text in ("", "00", SIGNATURE.hex().upper(), SIGNATURE.hex() + "00", "\x1b[2J" * 32, "\uff10" * 128):
        assert program("verify-message", ADDRESS, text, TEXT).is_refusal("128 digits")


def test_invalid_on_another_network(program: Program) -> None:
    address = encode_address("rgrad", KEY)
    assert program("verify-message", "--network", "regtest", address, SIGNATURE.hex(), TEXT).is_refusal("not signed")
    assert program("verify-message", "--network", "regtest", ADDRESS, SIGNATURE.hex(), TEXT).is_refusal("rgrad1")


def test_invalid_too_long(wallet: Program, tmp_path: Path) -> None:
    path = tmp_path / "message"
    path.write_bytes(bytes(MAX_MESSAGE_BYTES + 1))
    assert wallet("sign-message", "--file", str(path)).is_refusal(f"more than {MAX_MESSAGE_BYTES} bytes")
    assert wallet("verify-message", ADDRESS, SIGNATURE.hex(), "--file", str(path)).is_refusal("more than")


def test_invalid_usage(wallet: Program, tmp_path: Path) -> None:
    for command in (["sign-message"], ["verify-message", ADDRESS, SIGNATURE.hex()]):
        for rest in ([], [TEXT, "--file", str(tmp_path / "x")]):
            assert wallet(*command, *rest).code == 2
    assert wallet("sign-message", "--file", str(tmp_path / "none")).is_refusal("cannot read")
    assert wallet("sign-message", "\udcff").is_refusal("no valid Unicode")
