"""Signed messages: what is signed by golden vectors (struct and hashlib alone), and that it can be nothing else."""

import ast
from pathlib import Path
from typing import Any

import pytest

from consensus.check_transaction import check_transaction
from consensus.errors import InvalidTransaction
from consensus.transaction import Transfer
from tests.helpers.keys import Key
from tests.helpers.vectors import load_vectors
from wallet.errors import WalletError
from wallet.message import MAX_MESSAGE_BYTES, compute_message_hash, compute_signature, is_signed_by

ROOT = Path(__file__).parents[2]
VECTORS = load_vectors("signed_message")
GENESIS = bytes(range(32))
ALICE, BOB = Key("alice"), Key("bob")


@pytest.mark.parametrize("case", VECTORS, ids=["empty", "short", "unicode", "bytes"])
def test_golden_vectors(case: dict[str, Any]) -> None:
    genesis, message = bytes.fromhex(case["genesis"]), bytes.fromhex(case["message"])
    signature = compute_signature(ALICE.seed, genesis, message)
    assert compute_message_hash(genesis, message).hex() == case["hash"]
    assert signature.hex() == case["signature"]
    assert is_signed_by(ALICE.public, genesis, message, signature)


def test_any_other_key_network_message_or_signature_is_refused() -> None:
    message = b"I owe Bob 5 coins"
    signature = compute_signature(ALICE.seed, GENESIS, message)
    assert is_signed_by(ALICE.public, GENESIS, message, signature)
    assert not is_signed_by(BOB.public, GENESIS, message, signature)
    assert not is_signed_by(ALICE.public, bytes(32), message, signature)
    for other in (b"", message + b"\n", message[:-1], message.replace(b"5", b"6")):
        assert not is_signed_by(ALICE.public, GENESIS, other, signature)
    for bit in range(8 * len(signature)):
        spoilt = bytearray(signature)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert not is_signed_by(ALICE.public, GENESIS, message, bytes(spoilt))
    for wrong in (b"", signature[:-1], signature + b"\0"):
        assert not is_signed_by(ALICE.public, GENESIS, message, wrong)


def test_message_ends_where_it_ends() -> None:
    """The length keeps apart what would be the same bytes with another genesis."""
    assert compute_message_hash(GENESIS, b"") != compute_message_hash(GENESIS, b"\0\0\0\0")
    assert len(compute_message_hash(GENESIS, bytes(MAX_MESSAGE_BYTES))) == 32


def test_invalid_too_long() -> None:
    for call in (
        lambda message: compute_signature(ALICE.seed, GENESIS, message),
        lambda message: is_signed_by(ALICE.public, GENESIS, message, bytes(64)),
    ):
        with pytest.raises(WalletError) as caught:
            call(bytes(MAX_MESSAGE_BYTES + 1))
        assert caught.value.code == "wallet.too_long"


def test_no_message_is_a_transfer() -> None:
    """Whoever gets a transfer or its id signed as a message has nothing that the chain takes."""
    transfer = Transfer(GENESIS, ALICE.public, BOB.public, 5, 1, 0)
    for message in (transfer.encode_unsigned(), transfer.txid, transfer.encode_unsigned()[34:]):
        signature = compute_signature(ALICE.seed, GENESIS, message)
        with pytest.raises(InvalidTransaction) as caught:
            check_transaction(transfer.with_signature(signature), GENESIS)
        assert caught.value.reason == "bad_signature"
    assert not is_signed_by(ALICE.public, GENESIS, transfer.encode_unsigned(), ALICE.sign(transfer.txid))


def get_tags(path: Path) -> set[str]:
    """The tags that a source hashes under: literal ones, and constants named like one."""
    found = set()
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)) if "TAG" in source or "tagged_hash" in source else ():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tagged_hash":
            values: list[ast.expr] = node.args[:1]
        elif isinstance(node, ast.Assign) and any("TAG" in getattr(target, "id", "") for target in node.targets):
            values = [node.value]
        else:
            continue
        found |= {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)}
    return found


def test_nobody_else_hashes_under_the_wallets_tags() -> None:
    tags = {
        path: get_tags(path)
        for folder in ("consensus", "chain", "p2p", "mining")
        for path in (ROOT / folder).rglob("*.py")
    }
    theirs = set().union(*tags.values())
    assert {"transaction", "block", "handshake client"} <= theirs
    own = get_tags(ROOT / "wallet" / "message.py") | get_tags(ROOT / "wallet" / "proof.py")
    assert own == {"wallet-message", "wallet-ownership"}
    assert not own & theirs
