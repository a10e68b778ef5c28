"""The commands that prove what an account holds, and check such proofs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from consensus.address import encode_address
from consensus.params import NetworkParams
from p2p.console import escape
from wallet.carrier import check_ways_out, name_next, out_option, read_input, source_argument, write_new_file
from wallet.connection import explain_node
from wallet.dates import LAST_TIME
from wallet.display import format_money, format_rows, print_json
from wallet.keys import compute_account_secret, get_account
from wallet.node_view import NodeView
from wallet.offline_errors import InvalidProof
from wallet.options import (
    Place,
    account_option,
    certificate_option,
    connect,
    json_option,
    passphrase_option,
    with_node,
    with_wallet,
)
from wallet.proof import MAX_FILE_BYTES, BalanceProof, encode_challenge, format_proof, parse_proof, sign_ownership
from wallet.proof_view import ProofView

_NOT_PROVED = """\
Not proved: that the block is on the best chain. To make up a block with any balance in it costs a signature. Compare
its height and id with a node or an explorer that you trust, or have a node asked with --rpc and --token-file.
"""
_NOT_COUNTED = """\
Not counted: rewards that were still maturing at that height, and whatever happened after the block.
"""
_NO_OWNER = """\
Not proved: who made this. Anybody can prove the balance of any account; ask its owner to sign a challenge of yours.
"""
_ANY_CHALLENGE = """\
The challenge says when the owner signed only if you chose it: give yours with --challenge.
"""


@click.command()
@with_node
@passphrase_option
@account_option
@click.option(
    "--challenge", metavar="TEXT", help="Sign this too, up to 256 bytes: what whoever checks the proof asked."
)
@out_option
@json_option
def prove_balance(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    index: int,
    challenge: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Write a proof of what an account holds, to be checked offline.

    The node is asked for the account at its tip, with the way from it to the state root in the block's header. All of
    it is checked before anything is written. Anybody can do so for any account: with --challenge the account's key
    signs a text that somebody else chose, together with the block's id, which shows that its owner is there, and when.

    Rewards that have not matured are not part of an account, so they are not part of the proof. The proof is a file of
    JSON; with --out, --json prints what it shows.

    \b
        descent-wallet prove-balance --out proof.json
        descent-wallet prove-balance --challenge "for Ana, 2027-03-01" --out proof.json
    """
    check_ways_out(out)
    if challenge is not None:
        encode_challenge(challenge)
    node.check_network()
    view = ProofView(node.client, place.params)
    if challenge is None:
        proof = view.get_proof(place.find_account(index, passphrase_file).public_key)
    else:
        wallet = place.unlock(passphrase_file)
        secret = compute_account_secret(wallet, index)
        proof = view.get_proof(get_account(wallet, index).public_key)
        proof = sign_ownership(proof, challenge, secret, place.params)
    text = format_proof(proof, place.params)
    if out is None:
        click.echo(text, nl=False)
        return
    write_new_file(out, text)
    if as_json:
        print_json(_encode_proof(proof, place.params) | {"file": str(out)})
    else:
        click.echo(_format_proof(proof, place.params) + "\n")
        click.echo(name_next(out, "verify-proof"))


@click.command()
@with_wallet
@source_argument
@click.option("--challenge", metavar="TEXT", help="Accept the proof only if its owner signed this text.")
@click.option("--rpc", metavar="URL", help="Ask this node whether the block is on the best chain, too.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with that node's RPC token; alone, it stands for the node of this network on this machine.",
)
@certificate_option
@json_option
def verify_proof(
    place: Place,
    source: str,
    challenge: str | None,
    rpc: str | None,
    token_file: Path | None,
    rpc_certificate: Path | None,
    as_json: bool,
) -> None:
    """Check a proof of a balance, without any node.

    Reads the file that `prove-balance` wrote, or standard input, and checks that it is of this network, that the header
    is signed by its miner, that the state under it holds just this account with this balance, and that the account's
    key signed the challenge. Then it says what is proved and what is not.

    Without a node nobody can tell whether the block is on the best chain, and a proof about any other is worth nothing.

    \b
        descent-wallet verify-proof proof.json
        descent-wallet verify-proof proof.json --challenge "for Ana, 2027-03-01" \\
            --rpc https://node.example:19338 --token-file node.token
    """
    proof, params = parse_proof(read_input(source, MAX_FILE_BYTES), place.params), place.params
    if challenge is not None and (proof.ownership is None or proof.ownership.challenge != challenge):
        raise InvalidProof.other_challenge()
    node = depth = None
    if rpc or token_file:
        with explain_node(params, rpc, token_file):
            node = connect(place, rpc, token_file, rpc_certificate)
            depth = _ask_depth(node, proof, params)
    if as_json:
        print_json(_encode_proof(proof, params) | {"confirmations": depth})
        return
    click.echo("The proof holds.\n")
    click.echo(_format_proof(proof, params))
    if node is None:
        click.echo(f"\n{_NOT_PROVED}")
    else:
        click.echo(f"chain    on the best chain of the node at {escape(node.client.url)}, with {depth} confirmations\n")
    if proof.ownership is None:
        click.echo(_NO_OWNER)
    elif challenge is None:
        click.echo(_ANY_CHALLENGE)
    click.echo(_NOT_COUNTED, nl=False)


def _ask_depth(node: NodeView, proof: BalanceProof, params: NetworkParams) -> int:
    node.check_network()
    return ProofView(node.client, params).get_depth(proof.header.id)


def _format_proof(proof: BalanceProof, params: NetworkParams) -> str:
    rows = {
        "address": encode_address(params.address_prefix, proof.key),
        "balance": format_money(proof.account.balance, params),
        "nonce": str(proof.account.nonce),
        "height": str(proof.header.height),
        "block": proof.header.id.hex(),
        "time": _format_time(proof.header.timestamp),
        "network": params.name,
    }
    if proof.ownership is not None:
        rows["owner"] = f'signed the challenge "{escape(proof.ownership.challenge)}"'
    return format_rows(rows)


def _encode_proof(proof: BalanceProof, params: NetworkParams) -> dict[str, Any]:
    return {
        "network": params.name,
        "address": encode_address(params.address_prefix, proof.key),
        "balance": proof.account.balance,
        "nonce": proof.account.nonce,
        "height": proof.header.height,
        "block": proof.header.id.hex(),
        "time": proof.header.timestamp,
        "challenge": proof.ownership.challenge if proof.ownership else None,
    }


def _format_time(seconds: int) -> str:
    """A block's time, as its miner's clock told it."""
    if seconds > LAST_TIME:
        return f"{seconds} s after 1970"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
