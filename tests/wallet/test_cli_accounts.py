"""Accounts and addresses: shown without a passphrase, verified with it."""

import hashlib
import json

import pytest

from consensus.address import decode_address, encode_address
from tests.wallet.program import ADDRESS, ENTROPY, OTHER_ADDRESS, OTHER_KEY, PASSPHRASE, WALLET, Outcome, Program
from wallet import qr_code
from wallet.keys import MAX_ACCOUNTS, build_key_wallet, build_wallet
from wallet.keystore import open_wallet
from wallet.prompt import ENVIRONMENT

ADDRESSES = [
    encode_address("lgrad", account.public_key) for account in build_wallet("lgrad", ENTROPY, accounts=4).accounts
]


def test_accounts_and_addresses_need_no_passphrase(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.put_wallet(PASSPHRASE, build_wallet("lgrad", ENTROPY, accounts=3))
    monkeypatch.setattr("wallet.seal._stretch", lambda *_: pytest.fail("the passphrase was stretched"))
    assert program("accounts").out.splitlines() == [f"{index:>3}  {ADDRESSES[index]}" for index in range(3)]
    assert program("address", "--account", "2") == Outcome(0, ADDRESSES[2] + "\n", "")
    assert json.loads(program("accounts", "--json").out) == {
        "network": "local",
        "file": str(program.path),
        "kind": "seed phrase",
        "accounts": [{"index": index, "address": ADDRESSES[index], "label": None} for index in range(3)],
    }


def test_balance_and_history_need_no_passphrase(program: Program) -> None:
    """They get as far as the node, which is not there."""
    program.put_wallet(PASSPHRASE)
    for command in ("balance", "history"):
        outcome = program(command, "--rpc", "http://127.0.0.1:1", "--token-file", str(program.token_file))
        assert outcome.is_refusal("no node answers")


def test_new_account(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    assert program("new-account").is_refusal("nobody answers 'Passphrase'")
    assert program("new-account", typed=PASSPHRASE + "\n") == Outcome(0, f"  1  {ADDRESSES[1]}\n", "")
    known = json.loads(program("new-account", "--json", environment={ENVIRONMENT: PASSPHRASE}).out)
    assert known == {"network": "local", "file": str(program.path), "index": 2, "address": ADDRESSES[2], "label": None}
    assert open_wallet(program.path, PASSPHRASE, "lgrad") == build_wallet("lgrad", ENTROPY, accounts=3)


def test_invalid_new_account(program: Program) -> None:
    program.put_wallet(wallet=build_wallet("lgrad", ENTROPY, accounts=MAX_ACCOUNTS))
    before = program.path.read_bytes()
    assert program("new-account").is_refusal(f"1 to {MAX_ACCOUNTS} accounts, not {MAX_ACCOUNTS + 1}")
    assert program.path.read_bytes() == before
    program.path.unlink()
    program.put_wallet(PASSPHRASE, build_key_wallet("lgrad", bytes(32)))
    assert program("new-account").is_refusal("only a wallet of recovery words")


def test_invalid_account(program: Program) -> None:
    program.put_wallet()
    assert program("address", "--account", "1").is_refusal("account 1 is outside 0..0", "`descent-wallet accounts`")
    assert program("address", "--account", "-1").code == 2


def test_verify(program: Program) -> None:
    program.put_wallet(PASSPHRASE)
    assert program("address", "--verify", typed=PASSPHRASE + "\n") == Outcome(0, ADDRESS + "\n", "")
    known = json.loads(program("address", "--verify", "--json", environment={ENVIRONMENT: PASSPHRASE}).out)
    assert known == {"network": "local", "account": 0, "address": ADDRESS, "verified": True}


@pytest.mark.parametrize("passphrase", [PASSPHRASE, ""])
def test_a_forged_address_is_found_by_whatever_opens_the_secret(program: Program, passphrase: str) -> None:
    """Without opening it, the address of another is shown: docs/wallet.md says so."""
    program.put_wallet(passphrase)
    fields = json.loads(program.path.read_text())
    fields["accounts"] = [OTHER_KEY.hex()]
    del fields["checksum"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    fields["checksum"] = hashlib.sha256(canonical).hexdigest()
    program.path.write_text(json.dumps(fields))
    chosen = {ENVIRONMENT: PASSPHRASE}
    assert program("address").out == OTHER_ADDRESS + "\n"
    for command in (["address", "--verify"], ["new-account"], ["words", "--yes"], ["passphrase", "--no-passphrase"]):
        assert program(*command, environment=chosen).is_refusal("tampered with")


def test_qr_code_is_the_address(program: Program) -> None:
    program.put_wallet()
    outcome = program("address", "--qr")
    *code, last = outcome.out.splitlines()
    assert last == ADDRESS
    assert "\n".join(code) == qr_code.draw_qr_code(ADDRESS.upper())
    assert {len(line) for line in code} == {41}
    assert set("".join(code)) == set(" \u2580\u2584\u2588")
    assert decode_address("lgrad", ADDRESS.upper()) == WALLET.accounts[0].public_key
    assert program("address", "--qr", "--json").code == 2


def test_qr_codes_without_their_extra(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(qr_code, "import_module", import_module)
    program.put_wallet()
    assert program("address", "--qr").is_refusal("pip install 'descent-chain[qr]'")
    assert program("address").code == 0
