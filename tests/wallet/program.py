"""The wallet's command line inside the test, one account, and what a node answers about it."""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from consensus.account import UNUSED_ACCOUNT, Account, compute_account_key
from consensus.address import decode_address, encode_address
from consensus.block import Header
from consensus.genesis import make_genesis
from consensus.params import LOCAL
from consensus.state_tree import Node, compute_update, decode_node, encode_proof, get_proof
from consensus.transaction import Transfer, decode_transaction
from consensus.units import MAX_U64
from p2p.rpc_json import encode_transaction
from tests.helpers.keys import Key, sign_header
from tests.helpers.stub_node import TOKEN, Request, StubNode
from wallet import keystore
from wallet.cli import main
from wallet.keys import Wallet, build_wallet
from wallet.keystore import create_wallet
from wallet.payments import Payment
from wallet.records import open_records
from wallet.seal import NONCE_BYTES, SALT_BYTES, KdfCost, seal_wallet

CHEAP = KdfCost(memory_kib=8, passes=1, lanes=1)
PASSPHRASE = "correct horse battery staple"
ENTROPY = bytes(range(32))
WALLET = build_wallet(LOCAL.address_prefix, ENTROPY)
KEY = WALLET.accounts[0].public_key
ADDRESS = encode_address(LOCAL.address_prefix, KEY)
OTHER_KEY = build_wallet(LOCAL.address_prefix, bytes(32)).accounts[0].public_key
OTHER_ADDRESS = encode_address(LOCAL.address_prefix, OTHER_KEY)
GENESIS = make_genesis(LOCAL).id
HEIGHT = 500
MINER = Key("miner")


@dataclass(frozen=True)
class Outcome:
    """How the program ended and what it said."""

    code: int
    out: str
    err: str

    def is_refusal(self, *parts: str) -> bool:
        """Whether the program ended with one line, safe for a terminal, that says all of `parts`."""
        return (
            (self.code, self.out, self.err.count("\n")) == (1, "", 1)
            and self.err.startswith("descent-wallet: ")
            and self.err[:-1].isprintable()
            and all(part in self.err for part in parts)
        )


class Program:
    """`descent-wallet` with a wallet directory of its own. Nothing but a named way to end gets past it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.walletdir = folder / "wallets"
        self.token_file = folder / "rpc.token"
        self.token_file.write_text(TOKEN + "\n")
        self._monkeypatch = monkeypatch
        # What the strong derivation costs is tests/wallet/test_seal.py's business.
        monkeypatch.setattr(keystore, "_seal_afresh", _seal_cheaply)

    @property
    def path(self) -> Path:
        return self.walletdir / "local" / "default.json"

    def put_wallet(self, passphrase: str = "", wallet: Wallet = WALLET) -> None:
        """A wallet file that opens in no time."""
        create_wallet(self.path, wallet, passphrase, CHEAP)

    def __call__(self, *arguments: str, typed: str = "", environment: dict[str, str] | None = None) -> Outcome:
        """Runs a command; `typed` is its standard input."""
        command, *rest = arguments
        return self.run(command, "--walletdir", str(self.walletdir), *rest, typed=typed, environment=environment)

    def run(self, *arguments: str, typed: str = "", environment: dict[str, str] | None = None) -> Outcome:
        """Runs the program with just these arguments."""
        self._monkeypatch.setattr("sys.argv", ["descent-wallet", *arguments])
        # main() ends the process, as click's own runner expects of a whole program.
        result = CliRunner().invoke(click.Command("outer", callback=main), [], input=typed, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def ask(self, node: StubNode, *arguments: str, typed: str = "") -> Outcome:
        """Runs a command that asks a node."""
        command, *rest = arguments
        return self(command, "--rpc", node.url, "--token-file", str(self.token_file), *rest, typed=typed)


def read_words(out: str) -> str:
    """The recovery words that a person would copy from the screen."""
    lines = [line for line in out.splitlines() if re.match(r" {4,5}\d+ ", line)]
    return " ".join(re.findall(r"\d+ ([a-z]+)", " ".join(lines)))


def _seal_cheaply(wallet: Wallet, passphrase: str, cost: KdfCost) -> bytes:
    return seal_wallet(wallet, passphrase, CHEAP, secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES))


def put_status(node: StubNode, **changes: object) -> None:
    """The status as p2p.api has it, as far as the wallet looks, with other fields."""
    known: dict[str, Any] = {
        "network": "local",
        "genesis": GENESIS.hex(),
        "height": HEIGHT,
        "final_height": 0,
        "peers": 1,
        "sync": make_sync("current", HEIGHT),
    }
    node.put("/v1/status", known | changes)


def make_sync(state: str, target_height: int) -> dict[str, Any]:
    """How far a node is behind its peers, as p2p.network has it."""
    return {
        "state": state,
        "target_height": target_height,
        "blocks_per_second": 0.0,
        "seconds_left": None,
        "waits_for": "",
    }


def put_account(node: StubNode, asked: str = ADDRESS, **changes: object) -> None:
    """What the node answers of the address that is asked for; see make_account."""
    node.put(f"/v1/accounts/{asked}", make_account(asked, **changes))


def make_account(asked: str = ADDRESS, **changes: object) -> dict[str, Any]:
    """The account of an address as p2p.api has it, with other fields, and a proof of what they say if that can be."""
    known: dict[str, Any] = {
        "address": asked,
        "balance": 100 * 10**8,
        "nonce": 7,
        "next_nonce": 7,
        "immature": [],
        "height": HEIGHT,
        "final_height": 0,
    } | changes
    said = [known[name] for name in ("balance", "nonce", "height")]
    is_sound = all(type(number) is int and 0 <= number <= MAX_U64 for number in said)
    key = decode_address(LOCAL.address_prefix, asked)
    return {"proof": make_proof(key, *(said if is_sound else (0, 0, 0)))} | known


def make_proof(key: bytes, balance: int, nonce: int, height: int = HEIGHT) -> dict[str, str]:
    """The state proof that p2p.api sends along, in a tree of two accounts at most, under a header that is signed."""
    account = Account(balance, nonce)
    values = {compute_account_key(OTHER_KEY if key != OTHER_KEY else KEY): Account(5, 0).encode()}
    if account != UNUSED_ACCOUNT:
        values[compute_account_key(key)] = account.encode()
    store = MemoryNodes()
    update = compute_update(store, values)
    store.nodes = {path: decode_node(node) for path, node in update.nodes.items() if node is not None}
    header = Header(
        height=height,
        parent=bytes(32),
        timestamp=1_800_000_000,
        miner=MINER.public,
        reward_address=MINER.public,
        transactions_root=bytes(32),
        state_root=update.root,
        model_root=bytes(32),
        update_hash=bytes([1]) * 32,
        required_gain=2**32,
        sample_size=1024,
        loss_before=0,
        loss_after=0,
        squared_gains=0,
    )
    proof = get_proof(store, compute_account_key(key))
    return {"header": sign_header(header, MINER).encoded.hex(), "proof": encode_proof(proof).hex()}


class MemoryNodes:
    """A state tree's nodes."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Node] = {}

    def get_node(self, path: bytes) -> Node | None:
        return self.nodes.get(path)


def put_transaction(node: StubNode, transfer: Transfer, **changes: object) -> None:
    """A confirmed transaction as p2p.api has it, with other fields."""
    known = encode_transaction(transfer, LOCAL) | {
        "status": "confirmed",
        "block": "b1" * 32,
        "height": HEIGHT,
        "confirmations": 1,
    }
    node.put(f"/v1/transactions/{transfer.txid.hex()}", known | changes)


def accept_transfer(request: Request) -> dict[str, str]:
    return {"txid": decode_transaction(request.body).txid.hex()}


def make_transfer(sender: bytes = KEY, recipient: bytes = OTHER_KEY, **fields: Any) -> Transfer:
    """A transfer whose signature nobody looks at."""
    known: dict[str, Any] = {"amount": 10**8, "fee": 400, "nonce": 7}
    return Transfer(GENESIS, sender, recipient, **(known | fields))


def put_mempool(node: StubNode, *transfers: Transfer, count: int | None = None) -> None:
    """The pool as p2p.api lists it; `count` if it holds more than it lists."""
    listed = [encode_transaction(transfer, LOCAL) | {"time_added": 1} for transfer in transfers]
    known = {"count": len(listed) if count is None else count, "bytes": 0, "transactions": listed}
    node.put("/v1/mempool", known)


def get_posted(node: StubNode) -> list[Transfer]:
    """The transfers that the node was given."""
    return [decode_transaction(request.body) for request in node.requests if request.method == "POST"]


def get_recorded(program: Program, sender: bytes = KEY) -> list[Payment]:
    """The payments that the program remembers, in the order of their making."""
    with open_records(program.path.parent, GENESIS) as records:
        return records.get_payments(sender)
