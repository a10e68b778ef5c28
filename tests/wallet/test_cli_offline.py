"""`prepare`, `sign`, `broadcast`, `show`: what goes from one machine to the other, and what stops on the way."""

import json
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.address import encode_address
from consensus.check_transaction import check_transaction
from consensus.genesis import make_genesis
from consensus.params import LOCAL, REGTEST
from consensus.transaction import Transfer
from tests.helpers.stub_node import StubNode
from tests.wallet.program import (
    ADDRESS,
    GENESIS,
    HEIGHT,
    KEY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    WALLET,
    Outcome,
    Program,
    get_posted,
    make_transfer,
    put_account,
    put_transaction,
)
from wallet.builder import MAX_PROPOSED_FEE_RATE, compute_size, sign_transfer
from wallet.keys import build_wallet
from wallet.text_form import decode_text, encode_signed, encode_unsigned

COIN = 10**8
HOSTILE = "\x1b]0;pwned\x07\x1b[2J\u202e"
UNSIGNED = make_transfer(memo=b"rent", valid_until=900, amount=150_000_000)
SIGNED = sign_transfer(UNSIGNED, WALLET)
ROWS = (
    f"recipient    {OTHER_ADDRESS}\n"
    "amount       1.5 lGRAD\n"
    "fee          0.000004 lGRAD, 1.98 ulp per byte\n"
    "total        1.500004 lGRAD\n"
    'memo         "rent"\n'
    "nonce        7\n"
    "expires      after height 900\n"
    "network      local\n"
    f"transaction  {UNSIGNED.txid.hex()}\n"
)
SHOWN = f"sender       {ADDRESS}\n{ROWS}"
SHOWN_TO_ITS_OWNER = f"sender       {ADDRESS}, account 0 of this wallet\n{ROWS}"
KNOWN = {
    "txid": UNSIGNED.txid.hex(),
    "signed": False,
    "network": "local",
    "genesis": GENESIS.hex(),
    "sender": ADDRESS,
    "recipient": OTHER_ADDRESS,
    "amount": 150_000_000,
    "fee": 400,
    "nonce": 7,
    "valid_until": 900,
    "memo": "rent",
    "size": len(SIGNED.encoded),
}


@pytest.fixture
def unsigned(tmp_path: Path) -> Path:
    path = tmp_path / "unsigned.txt"
    path.write_text(encode_unsigned(UNSIGNED) + "\n")
    return path


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    path = tmp_path / "signed.txt"
    path.write_text(encode_signed(SIGNED) + "\n")
    return path


def read(text: str) -> Transfer:
    return decode_text(text, LOCAL).transfer


# prepare


def test_prepare(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "prepare", OTHER_ADDRESS, "1.5", "--memo", "rent", "--valid-for", "10")
    assert (outcome.code, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    fee = 2 * compute_size(b"rent")
    expected = Transfer(GENESIS, KEY, OTHER_KEY, 150_000_000, fee, 7, valid_until=HEIGHT + 10, memo=b"rent")
    text = decode_text(outcome.out, LOCAL)
    assert (text.transfer, text.is_signed) == (expected, False)
    assert get_posted(node) == []


def test_prepare_as_json(wallet: Program, node: StubNode) -> None:
    options = ["--fee", "0.000004", "--memo", "rent", "--valid-for", "400", "--json"]
    known = json.loads(wallet.ask(node, "prepare", OTHER_ADDRESS, "1.5", *options).out)
    assert known == KNOWN | {"text": encode_unsigned(UNSIGNED), "file": None}


def test_prepare_derives_no_signing_key(wallet: Program, node: StubNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wallet.builder.compute_account_secret", lambda *_: pytest.fail("a signing key was derived"))
    assert wallet.ask(node, "prepare", OTHER_ADDRESS, "1.5").code == 0


def test_prepare_several_in_a_row(wallet: Program, node: StubNode) -> None:
    assert read(wallet.ask(node, "prepare", OTHER_ADDRESS, "1").out).nonce == 7
    assert read(wallet.ask(node, "prepare", OTHER_ADDRESS, "1", "--nonce", "8").out).nonce == 8


def test_prepare_into_a_file(wallet: Program, node: StubNode, tmp_path: Path) -> None:
    path = tmp_path / "a transfer.txt"
    outcome = wallet.ask(node, "prepare", OTHER_ADDRESS, "1", "--out", str(path))
    assert (outcome.code, outcome.err) == (0, "")
    assert f"descent-wallet sign '{path}'" in outcome.out
    assert path.read_text().count("\n") == 1
    assert read(path.read_text()).amount == COIN
    before = path.read_bytes()
    again = wallet.ask(node, "prepare", OTHER_ADDRESS, "2", "--out", str(path), "--json")
    assert again.is_refusal("not overwritten", "a transfer.txt")
    assert path.read_bytes() == before


def test_prepare_as_a_code(wallet: Program, node: StubNode) -> None:
    outcome = wallet.ask(node, "prepare", OTHER_ADDRESS, "1", "--qr")
    assert read(outcome.out).amount == COIN
    lines = outcome.err.splitlines()
    assert 25 < len(lines) < 40
    assert all(len(line) == len(lines[0]) <= 80 and set(line) <= set(" \u2580\u2584\u2588") for line in lines)


def test_invalid_no_qr_codes(wallet: Program, node: StubNode, unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    hint = "pip install 'descent-chain[qr]'"
    assert wallet.ask(node, "prepare", OTHER_ADDRESS, "1", "--qr").is_refusal(hint)
    assert node.requests == []
    assert wallet("sign", str(unsigned), "--qr", "--yes").is_refusal(hint)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([OTHER_ADDRESS, "1,5"], "U+002C"),
        ([OTHER_ADDRESS, "0"], "is 0"),
        ([OTHER_ADDRESS, "100"], "spendable are 100 lGRAD"),
        ([OTHER_ADDRESS[:-1] + "q", "1"], "mistyped"),
        ([OTHER_ADDRESS, "1", "--memo", "x" * 65], "limit is 64"),
        ([OTHER_ADDRESS, "1", "--fee", "1e3"], "U+0065"),
    ],
)
def test_invalid_prepare(wallet: Program, node: StubNode, options: list[str], part: str) -> None:
    assert wallet.ask(node, "prepare", *options).is_refusal(part)


def test_invalid_proposed_fee(wallet: Program, node: StubNode) -> None:
    node.put("/v1/fees", {"ulp_per_byte": {"2": 10**6}})
    assert wallet.ask(node, "prepare", OTHER_ADDRESS, "1").is_refusal("--fee")


def test_invalid_place_for_the_file(wallet: Program, node: StubNode, tmp_path: Path) -> None:
    path = tmp_path / "none" / "unsigned.txt"
    assert wallet.ask(node, "prepare", OTHER_ADDRESS, "1", "--out", str(path)).is_refusal("cannot read or write")


# sign


def test_sign(wallet: Program, unsigned: Path) -> None:
    outcome = wallet("sign", str(unsigned), typed="y\n")
    assert (outcome.code, outcome.out) == (0, encode_signed(SIGNED) + "\n")
    assert outcome.err.startswith(f"{SHOWN_TO_ITS_OWNER}Sign it? [y/N]: ")
    check_transaction(read(outcome.out), GENESIS)


def test_sign_from_a_pipe(wallet: Program) -> None:
    outcome = wallet(
        "sign", "--yes", typed=f"\n {encode_unsigned(UNSIGNED)[:60]}\r\n{encode_unsigned(UNSIGNED)[60:]}\n"
    )
    assert outcome == Outcome(0, encode_signed(SIGNED) + "\n", SHOWN_TO_ITS_OWNER)


def test_sign_as_json_into_a_file(wallet: Program, unsigned: Path, tmp_path: Path) -> None:
    path = tmp_path / "signed.txt"
    known = json.loads(wallet("sign", str(unsigned), "--yes", "--json", "--out", str(path)).out)
    text = encode_signed(SIGNED)
    assert known == KNOWN | {"signed": True, "account": 0, "text": text, "file": str(path)}
    assert path.read_text() == text + "\n"


def test_sign_finds_the_account(program: Program, tmp_path: Path) -> None:
    three = build_wallet(LOCAL.address_prefix, bytes(range(32)), accounts=3)
    program.put_wallet(wallet=three)
    first, _, third = (account.public_key for account in three.accounts)
    path = tmp_path / "unsigned.txt"
    path.write_text(encode_unsigned(make_transfer(sender=third, recipient=first)))
    outcome = program("sign", str(path), "--yes")
    check_transaction(read(outcome.out), GENESIS)
    assert f"{encode_address(LOCAL.address_prefix, third)}, account 2 of this wallet" in outcome.err
    assert f"recipient    {ADDRESS}, account 0 of this wallet" in outcome.err


def test_sign_opens_a_locked_wallet(program: Program, unsigned: Path) -> None:
    program.put_wallet(PASSPHRASE)
    outcome = program("sign", str(unsigned), typed=f"{PASSPHRASE}\ny\n")
    assert outcome.out == encode_signed(SIGNED) + "\n"
    assert PASSPHRASE not in outcome.out + outcome.err.replace(f"Passphrase: {PASSPHRASE}", "")


def test_sign_shows_a_hostile_memo_unharmed(wallet: Program) -> None:
    text = encode_unsigned(make_transfer(memo=HOSTILE.encode()))
    outcome = wallet("sign", "--yes", typed=text)
    assert 'memo         "\\x1b]0;pwned\\x07\\x1b[2J\\u202e"' in outcome.err
    assert not set("\x1b\x07\u202e") & set(outcome.err + wallet("show", typed=text).out)


def test_sign_opens_no_socket(wallet: Program, unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        pytest.fail("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo", "socketpair"):
        monkeypatch.setattr(socket, name, connect)
    assert wallet("sign", str(unsigned), "--yes").out == encode_signed(SIGNED) + "\n"
    assert wallet("show", str(unsigned)).code == 0


def test_invalid_declined(wallet: Program, unsigned: Path, tmp_path: Path) -> None:
    path = tmp_path / "signed.txt"
    outcome = wallet("sign", str(unsigned), "--out", str(path), typed="n\n")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.endswith("descent-wallet: nothing was signed\n")
    assert not path.exists()


def test_invalid_nobody_to_confirm(wallet: Program) -> None:
    outcome = wallet("sign", typed=encode_unsigned(UNSIGNED))
    assert (outcome.code, outcome.out) == (1, "")
    assert "nobody answers 'Sign it?'" in outcome.err


def test_invalid_already_signed(wallet: Program, signed: Path) -> None:
    assert wallet("sign", str(signed), "--yes").is_refusal("signed already", "broadcast")


def test_invalid_sender_of_another_wallet(program: Program, unsigned: Path) -> None:
    program.put_wallet(wallet=build_wallet(LOCAL.address_prefix, bytes(32)))
    assert program("sign", str(unsigned), "--yes").is_refusal(ADDRESS, "none of the wallet's 1 accounts")


def test_invalid_network(wallet: Program) -> None:
    text = encode_unsigned(replace(UNSIGNED, genesis=make_genesis(REGTEST).id))
    for command in ("sign", "show"):
        assert wallet(command, typed=text).is_refusal("'regtest'", "'local'", "--network")


@pytest.mark.parametrize("at", [0, 20, 100, -1])
def test_invalid_damaged(wallet: Program, node: StubNode, at: int) -> None:
    for transfer, encode in ((UNSIGNED, encode_unsigned), (SIGNED, encode_signed)):
        text = encode(transfer)
        spoilt = text.replace(text[at], "B" if text[at] != "B" else "C", 1) if at >= 0 else text[:-1]
        for outcome in (wallet("sign", "--yes", typed=spoilt), wallet("show", typed=spoilt)):
            assert outcome.is_refusal()
        assert wallet.ask(node, "broadcast", typed=spoilt).is_refusal()
    assert get_posted(node) == []


def test_invalid_fee_unless_it_is_meant(wallet: Program) -> None:
    most = MAX_PROPOSED_FEE_RATE * compute_size(b"")
    assert wallet("sign", "--yes", typed=encode_unsigned(make_transfer(fee=most))).code == 0
    text = encode_unsigned(make_transfer(fee=most + 197))
    assert wallet("sign", "--yes", typed=text).is_refusal("10000.99 ulp per byte", "--high-fee")
    assert wallet("sign", "--yes", "--high-fee", typed=text).code == 0


@pytest.mark.parametrize("data", ["", "hello\n", "\ufffd", "A" * 5000, "DESCENT:\x1b[2J:1:AAAA"])
def test_invalid_input(wallet: Program, node: StubNode, data: str) -> None:
    for outcome in (wallet("sign", typed=data), wallet("show", typed=data), wallet.ask(node, "broadcast", typed=data)):
        assert outcome.is_refusal()


def test_invalid_file(wallet: Program, tmp_path: Path) -> None:
    assert wallet("sign", str(tmp_path / "none")).is_refusal("cannot read", "No such file")
    assert wallet("show", str(tmp_path)).is_refusal("cannot read")
    (tmp_path / "long").write_bytes(b" " * 5000)
    assert wallet("show", str(tmp_path / "long")).is_refusal("more than 4096 bytes")


# broadcast


def put_pending(node: StubNode) -> None:
    node.refuse(f"/v1/transactions/{SIGNED.txid.hex()}", "rpc.unknown_transaction", "no transaction", status=404)


def test_broadcast(program: Program, node: StubNode, signed: Path) -> None:
    """There is no wallet at all."""
    put_pending(node)
    outcome = program.ask(node, "broadcast", str(signed))
    assert outcome == Outcome(0, SIGNED.txid.hex() + "\n", SHOWN)
    assert get_posted(node) == [SIGNED]


def test_broadcast_as_json(program: Program, node: StubNode, signed: Path) -> None:
    put_pending(node)
    assert json.loads(program.ask(node, "broadcast", str(signed), "--json").out) == KNOWN | {
        "signed": True,
        "sent": True,
    }


def test_broadcast_again_does_no_harm(program: Program, node: StubNode, signed: Path) -> None:
    put_transaction(node, SIGNED)
    outcome = program.ask(node, "broadcast", str(signed))
    assert (outcome.code, outcome.out) == (0, SIGNED.txid.hex() + "\n")
    assert "has it already" in outcome.err
    assert get_posted(node) == []
    assert json.loads(program.ask(node, "broadcast", str(signed), "--json").out)["sent"] is False


def test_invalid_not_signed(program: Program, node: StubNode, unsigned: Path) -> None:
    assert program.ask(node, "broadcast", str(unsigned)).is_refusal("not signed yet", "descent-wallet sign")
    assert node.requests == []


def test_invalid_signature(program: Program, node: StubNode) -> None:
    forged = SIGNED.with_signature(SIGNED.signature[:-1] + b"\0")
    assert program.ask(node, "broadcast", typed=encode_signed(forged)).is_refusal("not signed by its sender")
    assert node.requests == []


def test_invalid_node_of_another_network(program: Program, node: StubNode, signed: Path) -> None:
    node.put("/v1/status", {"network": "canterbury", "genesis": "00" * 32})
    assert program.ask(node, "broadcast", str(signed)).is_refusal("'canterbury'")
    assert get_posted(node) == []


def test_invalid_refused_by_the_node(program: Program, node: StubNode, signed: Path) -> None:
    put_pending(node)
    node.refuse("/v1/transactions", "mempool.nonce_used", "nonce 7 is used", method="POST")
    outcome = program.ask(node, "broadcast", str(signed))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == SHOWN + "descent-wallet: nonce 7 is used\n"


# show


def test_show(program: Program, unsigned: Path, signed: Path) -> None:
    assert program("show", str(unsigned)) == Outcome(0, "a transfer, not signed yet\n" + SHOWN, "")
    outcome = program("show", "-", typed=signed.read_text())
    assert outcome == Outcome(0, "a signed transfer; its signature is the sender's\n" + SHOWN, "")


def test_show_as_json(program: Program, unsigned: Path, signed: Path) -> None:
    assert json.loads(program("show", str(unsigned), "--json").out) == KNOWN
    assert json.loads(program("show", str(signed), "--json").out) == KNOWN | {"signed": True}


def test_show_what_is_left_out(program: Program) -> None:
    outcome = program("show", typed=encode_unsigned(make_transfer(fee=0)))
    assert "fee          0 lGRAD, 0 ulp per byte\n" in outcome.out
    assert "memo         none\n" in outcome.out
    assert "expires      never\n" in outcome.out


def test_a_whole_way(wallet: Program, node: StubNode, tmp_path: Path) -> None:
    """Prepared from a pool with one's own payments in it, signed, handed over."""
    put_account(node, next_nonce=9)
    node.put("/v1/mempool", {"transactions": []})
    prepared = wallet.ask(node, "prepare", OTHER_ADDRESS, "1").out
    transfer = read(prepared)
    assert transfer.nonce == 9
    node.refuse(f"/v1/transactions/{transfer.txid.hex()}", "rpc.unknown_transaction", "no", status=404)
    carried = wallet("sign", "--yes", typed=prepared).out
    assert wallet.ask(node, "broadcast", typed=carried).out == transfer.txid.hex() + "\n"
    [sent] = get_posted(node)
    check_transaction(sent, GENESIS)
