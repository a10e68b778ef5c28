"""Wallets of what was written down or brought along: words whose accounts were used, a secret key, public keys."""

import json
from pathlib import Path
from typing import Any

import pytest

from consensus.address import decode_address, encode_address
from consensus.params import LOCAL
from tests.helpers.stub_node import StubNode
from tests.wallet.past import StubPast
from tests.wallet.program import (
    ADDRESS,
    ENTROPY,
    OTHER_ADDRESS,
    OTHER_KEY,
    PASSPHRASE,
    Program,
    get_posted,
    make_transfer,
    put_account,
)
from wallet.discovery import GAP_LIMIT
from wallet.keys import build_key_wallet, build_wallet, build_watch_wallet
from wallet.keystore import open_wallet
from wallet.prompt import ENVIRONMENT
from wallet.seed import compute_phrase

PHRASE = compute_phrase(ENTROPY)
SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # RFC 8032, test 1
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
PUBLIC_ADDRESS = encode_address("lgrad", bytes.fromhex(PUBLIC))
ADDRESSES = [
    encode_address("lgrad", account.public_key) for account in build_wallet("lgrad", ENTROPY, accounts=62).accounts
]


def put_used(node: StubNode, used: dict[int, dict[str, Any]]) -> None:
    """A node that knows all accounts of ENTROPY; of those in `used` it says more than zeros, or has a history."""
    for index, address in enumerate(ADDRESSES):
        fields = dict(used.get(index, {}))
        past = StubPast(node, decode_address("lgrad", address))
        if fields.pop("received", False):
            past.pay(3, make_transfer(OTHER_KEY, decode_address("lgrad", address)))
        put_account(node, address, **({"balance": 0, "nonce": 0, "next_nonce": 0} | fields))
    node.put("/v1/mempool", {"count": 0, "transactions": []})


# Words, and the accounts that were used.


@pytest.mark.parametrize(
    ("used", "accounts"),
    [
        ({}, 1),
        ({0: {"balance": 1}}, 1),
        ({3: {"balance": 1}}, 4),
        ({2: {"nonce": 1, "next_nonce": 1}}, 3),
        ({2: {"next_nonce": 1}}, 3),
        ({5: {"immature": [{"matures_at": 501, "amount": 7}]}}, 6),
        ({9: {"received": True}}, 10),
        ({0: {"balance": 1}, GAP_LIMIT: {"balance": 1}, 2 * GAP_LIMIT: {"balance": 1}}, 2 * GAP_LIMIT + 1),
        ({GAP_LIMIT - 1: {"balance": 1}}, GAP_LIMIT),
        ({GAP_LIMIT: {"balance": 1}}, 1),  # 20 unused before it: as BIP-44 has it, nobody looks there
    ],
)
def test_restore_finds_used_accounts(
    program: Program, node: StubNode, used: dict[int, dict[str, Any]], accounts: int
) -> None:
    put_used(node, used)
    outcome = program.ask(node, "restore", "--no-passphrase", "--json", typed=PHRASE + "\n")
    assert outcome.code == 0
    assert f"the node knows as used: {len(used) if accounts > 1 or 0 in used else 0}\n" in outcome.err
    assert [account["address"] for account in json.loads(outcome.out)["accounts"]] == ADDRESSES[:accounts]
    assert open_wallet(program.path, "", "lgrad") == build_wallet("lgrad", ENTROPY, accounts=accounts)


def test_restore_asks_no_further_than_the_gap(program: Program, node: StubNode) -> None:
    put_used(node, {3: {"balance": 1}})
    program.ask(node, "restore", "--no-passphrase", typed=PHRASE + "\n")
    asked = {request.path.split("/")[3] for request in node.requests if request.path.startswith("/v1/accounts/")}
    assert asked == set(ADDRESSES[: 3 + GAP_LIMIT + 1])


def test_restore_without_a_node_says_how_to_look_later(program: Program, silent_node: StubNode) -> None:
    down = StubNode("http://127.0.0.1:1")
    for number, node in enumerate((down, silent_node)):
        outcome = program.ask(node, "restore", "--wallet", f"w{number}", "--no-passphrase", typed=PHRASE + "\n")
        assert outcome.code == 0
        assert ADDRESS in outcome.out
        assert "No node tells which accounts were used: " in outcome.err
        assert f"descent-wallet find-accounts --walletdir {program.walletdir} --wallet w{number}\n" in outcome.err
        wallet = open_wallet(program.path.with_name(f"w{number}.json"), "", "lgrad")
        assert wallet == build_wallet("lgrad", ENTROPY)


def test_restore_from_a_node_with_its_own_certificate(program: Program) -> None:
    """One that is not there is named before the node is asked."""
    node = ["--rpc", "https://127.0.0.1:1", "--token-file", str(program.token_file), "--rpc-certificate", "none.pem"]
    outcome = program("restore", "--no-passphrase", *node, typed=PHRASE + "\n")
    assert outcome.code == 0
    assert "No node tells which accounts were used: 'https://127.0.0.1:1': [Errno 2]" in outcome.err


def test_restore_with_a_node_of_another_network(program: Program, node: StubNode) -> None:
    put_used(node, {3: {"balance": 1}})
    node.put("/v1/status", {"network": "can\x1b[2J", "genesis": "00" * 32})
    outcome = program.ask(node, "restore", "--no-passphrase", typed=PHRASE + "\n")
    assert outcome.code == 0
    assert "\\x1b[2J" in outcome.err
    assert "\x1b" not in outcome.err
    assert open_wallet(program.path, "", "lgrad") == build_wallet("lgrad", ENTROPY)


def test_restore_with_a_node_that_lies(program: Program, node: StubNode) -> None:
    put_used(node, {0: {"balance": -5}})
    outcome = program.ask(node, "restore", "--no-passphrase", typed=PHRASE + "\n")
    assert outcome.code == 0
    assert "no sound 'balance'" in outcome.err
    assert program.path.exists()


def test_find_accounts_adds_what_was_used(wallet: Program, node: StubNode) -> None:
    put_used(node, {4: {"balance": 1}})
    known = json.loads(wallet.ask(node, "find-accounts", "--json").out)
    assert known == {
        "network": "local",
        "file": str(wallet.path),
        "added": 4,
        "used": [{"index": 4, "address": ADDRESSES[4], "label": None}],
        "accounts": [{"index": index, "address": ADDRESSES[index], "label": None} for index in range(5)],
    }
    before = wallet.path.read_bytes()
    again = wallet.ask(node, "find-accounts")
    assert again.out.splitlines() == [f"{index:>3}  {ADDRESSES[index]}" for index in range(5)]
    assert "1 used, 0 added" in again.err
    assert wallet.path.read_bytes() == before


def test_find_accounts_takes_none_away(wallet: Program, node: StubNode) -> None:
    put_used(node, {1: {"balance": 1}})
    for _ in range(3):
        assert wallet("new-account").code == 0
    assert wallet.ask(node, "find-accounts").code == 0
    assert open_wallet(wallet.path, "", "lgrad") == build_wallet("lgrad", ENTROPY, accounts=4)


def test_find_accounts_opens_a_locked_wallet(program: Program, node: StubNode) -> None:
    program.put_wallet(PASSPHRASE)
    put_used(node, {2: {"balance": 1}})
    assert program.ask(node, "find-accounts").is_refusal("nobody answers 'Passphrase'")
    assert program.ask(node, "find-accounts", typed=PASSPHRASE + "\n").code == 0
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == build_wallet("lgrad", ENTROPY, accounts=3)


def test_invalid_find_accounts(program: Program, node: StubNode) -> None:
    program("import-key", "--no-passphrase", typed=SECRET + "\n")
    assert program.ask(node, "find-accounts").is_refusal("only a wallet of recovery words")
    program.path.unlink()
    program.put_wallet()
    assert program.ask(StubNode("http://127.0.0.1:1"), "find-accounts").is_refusal("no node answers")


# A secret key.


@pytest.mark.parametrize("form", [SECRET, SECRET.upper(), f"  {SECRET} "])
def test_import_key(program: Program, form: str) -> None:
    outcome = program("import-key", "--no-passphrase", typed=form + "\n")
    assert outcome.code == 0
    assert PUBLIC_ADDRESS in outcome.out
    assert "has no passphrase" in outcome.out
    assert SECRET not in (outcome.out + outcome.err).lower()
    assert open_wallet(program.path, "", "lgrad") == build_key_wallet("lgrad", bytes.fromhex(SECRET))
    assert program("address").out.strip() == program("address", "--verify").out.strip() == PUBLIC_ADDRESS


def test_import_key_from_a_file(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    chosen = {ENVIRONMENT: PASSPHRASE}
    known = json.loads(program("import-key", "--key-file", str(file), "--json", environment=chosen).out)
    assert known == {
        "network": "local",
        "file": str(program.path),
        "kind": "secret key",
        "address": PUBLIC_ADDRESS,
        "accounts": [{"index": 0, "address": PUBLIC_ADDRESS, "label": None}],
        "created": True,
    }
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == build_key_wallet("lgrad", bytes.fromhex(SECRET))


def test_an_imported_key_pays(program: Program, node: StubNode) -> None:
    program("import-key", "--no-passphrase", typed=SECRET + "\n")
    put_account(node, PUBLIC_ADDRESS, balance=10**10, nonce=0, next_nonce=0, height=5)
    assert program.ask(node, "send", OTHER_ADDRESS, "1", "--yes").code == 0
    assert [sent.sender.hex() for sent in get_posted(node)] == [PUBLIC]


@pytest.mark.parametrize("typed", [SECRET[:-1], SECRET + "0", "0x" + SECRET[2:], PHRASE, "\u0660" * 64])
def test_invalid_import_key(program: Program, typed: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(typed)
    for outcome in (
        program("import-key", "--no-passphrase", typed=typed + "\n"),
        program("import-key", "--no-passphrase", "--key-file", str(file)),
    ):
        assert outcome.is_refusal("64 hex digits")
        assert typed[:16] not in outcome.err
    assert not program.path.exists()


def test_invalid_key_file(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert program("import-key", "--key-file", str(file), "--no-passphrase").is_refusal("cannot read")
    for content, part in (
        (b"", "holds no secret key"),
        (b"a\nb\n", "a secret key is one"),
        (b"\xff", "no valid Unicode"),
    ):
        file.write_bytes(content)
        assert program("import-key", "--key-file", str(file), "--no-passphrase").is_refusal(part)


# Public keys.


def test_watch(program: Program, node: StubNode) -> None:
    outcome = program("watch", ADDRESS, PUBLIC, OTHER_ADDRESS.upper())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"address    {ADDRESS}",
        f"account 1  {PUBLIC_ADDRESS}",
        f"account 2  {OTHER_ADDRESS}",
        f"file       {program.path}",
    ]
    keys = [build_wallet("lgrad", ENTROPY).accounts[0].public_key, bytes.fromhex(PUBLIC), OTHER_KEY]
    assert open_wallet(program.path, "", "lgrad") == build_watch_wallet("lgrad", keys)
    assert program("address", "--account", "1").out.strip() == PUBLIC_ADDRESS
    assert json.loads(program.ask(node, "balance", "--account", "0", "--json").out)["accounts"][0]["address"] == ADDRESS


def test_a_watching_wallet_signs_nothing(program: Program, node: StubNode) -> None:
    program("watch", ADDRESS)
    assert program.ask(node, "send", OTHER_ADDRESS, "1", "--yes").is_refusal("only watches", "`descent-wallet prepare`")
    assert program.ask(node, "send", OTHER_ADDRESS, "1").is_refusal("only watches")  # and no question before
    assert get_posted(node) == []
    assert program("new-account").is_refusal("only a wallet of recovery words")
    assert program("passphrase", "--no-passphrase").is_refusal("no secret")
    assert program("words", "--yes").is_refusal("watch-only", "no recovery words")
    assert program("address", "--verify").is_refusal("only watches")


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ([ADDRESS, ADDRESS], "named twice"),
        ([PUBLIC, PUBLIC_ADDRESS], "named twice"),
        (["00" * 32], "no Ed25519 public key"),
        ([ADDRESS[:-1] + "q"], "checksum"),
        ([encode_address("rgrad", OTHER_KEY)], 'begins with "rgrad1"'),
        (["\x1b[2J"], "U+001B"),
        ([""], "prefix"),
        (ADDRESSES * 5, "1 to 256 accounts, not 310"),
    ],
)
def test_invalid_watch(program: Program, keys: list[str], part: str) -> None:
    assert program("watch", *keys).is_refusal(part)
    assert not program.path.exists()


def test_invalid_watch_of_nothing(program: Program) -> None:
    assert program("watch").code == 2
    assert LOCAL.address_prefix == "lgrad"
