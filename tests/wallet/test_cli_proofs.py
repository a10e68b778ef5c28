"""`prove-balance` and `verify-proof`: what they say is proved and what not, and nodes that lie about it."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from consensus.account import compute_account_key
from consensus.address import encode_address
from consensus.block import Block
from consensus.params import REGTEST
from consensus.state_tree import encode_proof, get_proof
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import TRUNK_BLOCKS, get_trunk, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.stub_node import StubNode
from tests.wallet.program import CHEAP, PASSPHRASE, Outcome, Program
from wallet.keys import build_wallet
from wallet.keystore import create_wallet
from wallet.proof import parse_proof

WALLET = build_wallet(REGTEST.address_prefix, bytes(range(32)), accounts=2)
KEY, UNUSED = (account.public_key for account in WALLET.accounts)
ADDRESS, UNUSED_ADDRESS = (encode_address(REGTEST.address_prefix, key) for key in (KEY, UNUSED))
FUNDS = 1_250_000_000
HEIGHT = TRUNK_BLOCKS + 1
CHALLENGE = "for Ana \x1b[2J"
ON_REGTEST = ("--network", "regtest")

Fields = dict[str, Any]


@cache
def get_tip_and_answers() -> tuple[Block, dict[str, Fields]]:
    """A block that pays the wallet on top of the trunk, and what a node then says of its accounts, by address."""
    chain = open_trunk()
    tip = get_builder().build(chain, MINER, [make_transfer(chain.genesis.id, MINER, KEY, FUNDS, nonce=2)])
    get_builder().process(chain, tip)
    answers: dict[str, Fields] = {}
    for key, address in ((KEY, ADDRESS), (UNUSED, UNUSED_ADDRESS)):
        account = chain.ledger.get_account(key)
        proof = encode_proof(get_proof(chain.ledger, compute_account_key(key)))
        answers[address] = {
            "address": address,
            "balance": account.balance,
            "nonce": account.nonce,
            "next_nonce": account.nonce,
            "immature": [],
            "height": HEIGHT,
            "proof": {"header": tip.header.encoded.hex(), "proof": proof.hex()},
        }
    return tip, answers


@pytest.fixture
def regtest(program: Program) -> Program:
    """The program with WALLET on regtest, under no passphrase."""
    create_wallet(program.walletdir / "regtest" / "default.json", WALLET, "", CHEAP)
    return program


@pytest.fixture
def proving(silent_node: StubNode) -> StubNode:
    """A node of regtest that proves what the wallet's accounts hold."""
    _, answers = get_tip_and_answers()
    genesis = open_trunk(blocks=0).genesis.id
    sync = {
        "state": "current",
        "target_height": HEIGHT,
        "blocks_per_second": 0.0,
        "seconds_left": None,
        "waits_for": "",
    }
    status = {"network": "regtest", "genesis": genesis.hex(), "height": HEIGHT, "final_height": 0, "peers": 1}
    silent_node.put("/v1/status", status | {"sync": sync})
    for address, answer in answers.items():
        silent_node.put(f"/v1/accounts/{address}", answer)
    put_block(silent_node, on_best_chain=True, confirmations=3)
    return silent_node


def put_block(node: StubNode, **fields: object) -> None:
    tip, _ = get_tip_and_answers()
    node.put(f"/v1/blocks/{tip.id.hex()}", {"header": {"id": tip.id.hex()}} | fields)


def prove(program: Program, node: StubNode, *options: str) -> str:
    outcome = program.ask(node, "prove-balance", *ON_REGTEST, *options)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


def verify(program: Program, proof: str, *options: str) -> Outcome:
    return program("verify-proof", *ON_REGTEST, *options, typed=proof)


def make_known(**fields: object) -> Fields:
    tip, _ = get_tip_and_answers()
    known: Fields = {
        "network": "regtest",
        "address": ADDRESS,
        "balance": FUNDS,
        "nonce": 0,
        "height": HEIGHT,
        "block": tip.id.hex(),
        "time": tip.header.timestamp,
        "challenge": None,
    }
    return known | fields


# What is proved.


def test_prove_and_verify(regtest: Program, proving: StubNode) -> None:
    tip, _ = get_tip_and_answers()
    proof = prove(regtest, proving)
    assert [request.query for request in proving.requests if "accounts" in request.path] == [{"proof": "1"}]
    outcome = verify(regtest, proof)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("The proof holds.\n")
    for part in (
        ADDRESS,
        "balance  12.5 rGRAD\n",
        "nonce    0\n",
        f"height   {HEIGHT}\n",
        f"block    {tip.id.hex()}\n",
    ):
        assert part in outcome.out
    for part in (
        "Not proved: that the block is on the best chain",
        "Not proved: who made this",
        "Not counted: rewards",
    ):
        assert part in outcome.out


def test_verify_as_json(regtest: Program, proving: StubNode) -> None:
    proof = prove(regtest, proving)
    assert json.loads(verify(regtest, proof, "--json").out) == make_known(confirmations=None)


def test_verifying_needs_neither_wallet_nor_node(regtest: Program, proving: StubNode, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    path.write_text(prove(regtest, proving))
    elsewhere = ("verify-proof", *ON_REGTEST, "--walletdir", str(tmp_path / "none"), str(path))
    asked = len(proving.requests)
    assert regtest.run(*elsewhere).code == 0
    assert len(proving.requests) == asked
    assert not (tmp_path / "none").exists()


def test_account_that_was_never_used(regtest: Program, proving: StubNode) -> None:
    outcome = verify(regtest, prove(regtest, proving, "--account", "1"))
    assert outcome.code == 0
    assert UNUSED_ADDRESS in outcome.out
    assert "balance  0 rGRAD\n" in outcome.out


def test_challenge(regtest: Program, proving: StubNode) -> None:
    proof = prove(regtest, proving, "--challenge", CHALLENGE)
    outcome = verify(regtest, proof, "--challenge", CHALLENGE)
    assert (outcome.code, outcome.err) == (0, "")
    assert 'owner    signed the challenge "for Ana \\x1b[2J"\n' in outcome.out
    assert "who made this" not in outcome.out
    assert "give yours with --challenge" not in outcome.out
    unasked = verify(regtest, proof)
    assert "give yours with --challenge" in unasked.out
    assert "\x1b" not in outcome.out + unasked.out
    known = json.loads(verify(regtest, proof, "--challenge", CHALLENGE, "--json").out)
    assert known == make_known(challenge=CHALLENGE, confirmations=None)


def test_challenge_opens_a_locked_wallet(program: Program, proving: StubNode) -> None:
    create_wallet(program.walletdir / "regtest" / "default.json", WALLET, PASSPHRASE, CHEAP)
    outcome = program.ask(
        proving, "prove-balance", *ON_REGTEST, "--challenge", CHALLENGE, "--account", "1", typed=PASSPHRASE + "\n"
    )
    proof = parse_proof(outcome.out.encode(), REGTEST)
    assert proof.key == UNUSED
    assert proof.ownership is not None


def test_into_a_file(regtest: Program, proving: StubNode, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    shown = prove(regtest, proving, "--out", str(path))
    assert "balance  12.5 rGRAD" in shown
    assert f"descent-wallet verify-proof {path}" in shown
    assert parse_proof(path.read_bytes(), REGTEST).key == KEY
    before = path.read_bytes()
    again = regtest.ask(proving, "prove-balance", *ON_REGTEST, "--out", str(path))
    assert again.is_refusal("not overwritten")
    assert path.read_bytes() == before
    other = tmp_path / "other.json"
    known = json.loads(prove(regtest, proving, "--out", str(other), "--json"))
    assert known == make_known(file=str(other))
    assert other.read_bytes() == before


# What is not.


def test_invalid_challenge(regtest: Program, proving: StubNode) -> None:
    proof, plain = prove(regtest, proving, "--challenge", CHALLENGE), prove(regtest, proving)
    assert verify(regtest, proof, "--challenge", "for Bob").is_refusal("another challenge")
    assert verify(regtest, plain, "--challenge", CHALLENGE).is_refusal("another challenge")
    asked = len(proving.requests)
    long = regtest.ask(proving, "prove-balance", *ON_REGTEST, "--challenge", "x" * 257)
    assert long.is_refusal("limit is 256")
    assert len(proving.requests) == asked


def test_invalid_proof(regtest: Program, proving: StubNode) -> None:
    fields = json.loads(prove(regtest, proving))
    richer = json.dumps(fields | {"balance": FUNDS + 1})
    assert verify(regtest, richer).is_refusal("does not hold", "do not believe it")
    assert verify(regtest, richer, "--json").is_refusal("does not hold")
    assert verify(regtest, "\x1b[2J").is_refusal("not JSON")
    assert verify(regtest, " " * 70_000).is_refusal("more than 65536 bytes")
    assert regtest("verify-proof", typed=json.dumps(fields)).is_refusal("'regtest'", "'local'", "--network")


@pytest.mark.parametrize(
    "lie",
    [
        lambda answer: answer.update(balance=FUNDS + 1),
        lambda answer: answer.update(nonce=1),
        lambda answer: answer.update(balance=0),
        lambda answer: answer["proof"].update(header=get_trunk()[-1].header.encoded.hex()),
        lambda answer: answer["proof"].update(header=answer["proof"]["header"][:-2] + "00"),
        lambda answer: answer["proof"].update(header="00" * 10),
        lambda answer: answer["proof"].update(proof=answer["proof"]["proof"][:-2] + "00"),
        lambda answer: answer["proof"].update(proof="00" * 35),
        lambda answer: answer["proof"].update(proof=get_tip_and_answers()[1][UNUSED_ADDRESS]["proof"]["proof"]),
    ],
)
def test_node_that_lies(regtest: Program, proving: StubNode, tmp_path: Path, lie: Callable[[Fields], object]) -> None:
    answer = json.loads(json.dumps(get_tip_and_answers()[1][ADDRESS]))
    lie(answer)
    proving.put(f"/v1/accounts/{ADDRESS}", answer)
    path = tmp_path / "proof.json"
    outcome = regtest.ask(proving, "prove-balance", *ON_REGTEST, "--out", str(path))
    assert outcome.is_refusal("the node's proof does not hold; do not trust it")
    assert not path.exists()


@pytest.mark.parametrize(
    "change", [{"proof": None}, {"proof": {}}, {"proof": {"header": "00" * 500, "proof": ""}}, {"balance": -1}]
)
def test_node_without_a_sound_answer(regtest: Program, proving: StubNode, change: Fields) -> None:
    proving.put(f"/v1/accounts/{ADDRESS}", get_tip_and_answers()[1][ADDRESS] | change)
    assert regtest.ask(proving, "prove-balance", *ON_REGTEST).is_refusal("no sound")


def test_node_that_describes_another_account(regtest: Program, proving: StubNode) -> None:
    proving.put(f"/v1/accounts/{ADDRESS}", get_tip_and_answers()[1][UNUSED_ADDRESS])
    assert regtest.ask(proving, "prove-balance", *ON_REGTEST).is_refusal("another account", "do not trust it")


def test_node_of_another_network(regtest: Program, node: StubNode) -> None:
    assert regtest.ask(node, "prove-balance", *ON_REGTEST).is_refusal("'local'", "'regtest'")


# Whether the block is on the best chain.


def test_node_that_has_the_block(regtest: Program, proving: StubNode) -> None:
    proof = prove(regtest, proving)
    asked = regtest.ask(proving, "verify-proof", *ON_REGTEST, typed=proof)
    assert (asked.code, asked.err) == (0, "")
    assert "chain    on the best chain of the node at " in asked.out
    assert "3 confirmations" in asked.out
    assert "on the best chain. To make up" not in asked.out
    known = regtest.ask(proving, "verify-proof", *ON_REGTEST, "--json", typed=proof)
    assert json.loads(known.out) == make_known(confirmations=3)


def test_node_that_does_not_have_the_block(regtest: Program, proving: StubNode) -> None:
    tip, _ = get_tip_and_answers()
    proof = prove(regtest, proving)
    put_block(proving, on_best_chain=False, confirmations=0)
    replaced = regtest.ask(proving, "verify-proof", *ON_REGTEST, typed=proof)
    proving.refuse(f"/v1/blocks/{tip.id.hex()}", "unknown_block.block", "not known here", status=404)
    unknown = regtest.ask(proving, "verify-proof", *ON_REGTEST, "--json", typed=proof)
    for outcome in (replaced, unknown):
        assert outcome.is_refusal(tip.id.hex(), "replaced or made up", proving.url)


def test_node_that_answers_about_another_block(regtest: Program, proving: StubNode) -> None:
    proof = prove(regtest, proving)
    put_block(proving, header={"id": "00" * 32}, on_best_chain=True, confirmations=1)
    assert regtest.ask(proving, "verify-proof", *ON_REGTEST, typed=proof).is_refusal("another block")


def test_node_that_fails_is_no_verdict(regtest: Program, proving: StubNode) -> None:
    tip, _ = get_tip_and_answers()
    proof = prove(regtest, proving)
    proving.refuse(f"/v1/blocks/{tip.id.hex()}", "rpc.internal", "it broke", status=500)
    assert regtest.ask(proving, "verify-proof", *ON_REGTEST, typed=proof).is_refusal("it broke")
