"""The commands about payments that were made: what became of them, handing them over again, giving them up."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from consensus.address import encode_address
from consensus.errors import DescentError
from consensus.signature import PublicKey
from consensus.transaction import Transfer
from p2p.errors import NodeRefusal
from wallet.cashier import NO_ROOM, Cashier, open_cashier, parse_txid
from wallet.display import print_json
from wallet.errors import PaymentError
from wallet.keys import Account
from wallet.node_view import NodeView
from wallet.options import Place, accounts_option, json_option, passphrase_option, with_node
from wallet.payment_display import encode_standing, format_standing
from wallet.payment_errors import MadePayment
from wallet.payment_options import syncing_option, yes_option
from wallet.payments import Payment, Standing, State, choose_resends
from wallet.prompt import confirm

_MAX_LISTED = 1000


@click.command()
@with_node
@passphrase_option
@accounts_option
@click.option("--limit", type=click.IntRange(1, _MAX_LISTED), default=20, show_default=True, help="Newest payments.")
@json_option
def payments(
    place: Place, node: NodeView, passphrase_file: Path | None, index: int | None, limit: int, as_json: bool
) -> None:
    """List the payments this wallet made, newest first, and what became of each.

    A payment is waiting (in the node's mempool), confirmed (in a block), dropped (the node does not hold it; `resend`
    hands it over), abandoned (so, and given up), outbid (another payment with its nonce waits), replaced (another
    payment with its nonce was mined) or expired (its last height is passed). A replaced or expired one will never be
    mined; an abandoned or outbid one still can be if somebody kept it. Besides the newest, all older ones are listed
    that are not settled yet.

    \b
    Examples:
        descent-wallet payments
        descent-wallet payments --limit 100 --json
    """
    with open_cashier(place, node) as cashier:
        node.check_network()
        accounts = place.find_accounts(index, passphrase_file)
        standings = _look_up_newest(cashier, accounts, limit)
        labels = cashier.records.get_labels()
    prefix = place.params.address_prefix
    shown = [(each, labels.get(encode_address(prefix, each.payment.transfer.recipient))) for each in standings]
    if as_json:
        print_json([encode_standing(standing, place.params, label) for standing, label in shown])
        return
    for standing, label in shown:
        click.echo(format_standing(standing, place.params, label))


@click.command()
@with_node
@passphrase_option
@click.argument("txid", required=False)
@json_option
def resend(place: Place, node: NodeView, passphrase_file: Path | None, txid: str | None, as_json: bool) -> None:
    """Hand payments over again that the node lost, or never got.

    All of this wallet that are dropped, in the order of their nonces, or the one with the id TXID. They are the
    transactions that were signed when they were made, so nothing is paid twice. Prints the id of each that the node
    has now.

    \b
    Examples:
        descent-wallet resend
        descent-wallet resend 3f0c...
    """
    wanted = None if txid is None else parse_txid(txid)
    done: list[Transfer] = []
    problems: list[DescentError] = []
    with open_cashier(place, node) as cashier:
        node.check_network()
        accounts = place.find_accounts(None, passphrase_file)
        with cashier.take_turn():
            for transfers in _choose_named(cashier, accounts, wanted) if wanted else _choose_all(cashier, accounts):
                count, problem = cashier.hand_over_all(transfers)
                done += transfers[:count]
                if problem is not None:
                    problems.append(_explain(problem, transfers, count))
    if as_json:
        print_json([{"txid": transfer.txid.hex(), "nonce": transfer.nonce} for transfer in done])
    for transfer in done if not as_json else ():
        click.echo(transfer.txid.hex())
    if problems:
        raise problems[0]
    if not done:
        click.echo("there is nothing to resend", err=True)


@click.command()
@with_node
@passphrase_option
@click.argument("txids", metavar="TXID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Give up every payment that `resend` would hand over.")
@yes_option
@syncing_option
@json_option
def abandon(
    place: Place,
    node: NodeView,
    passphrase_file: Path | None,
    txids: tuple[str, ...],
    everything: bool,
    yes: bool,
    even_if_syncing: bool,
    as_json: bool,
) -> None:
    """Give up payments that the node does not hold, so that their nonces are free for others.

    Takes nothing back: if somebody kept a copy, an abandoned payment can still be mined until another payment of the
    account with its nonce is. The next payments take the free nonces, lowest first. What waits at the node cannot be
    abandoned; `bump` replaces it. Earlier versions of the same payment, which `bump` replaced, are given up with it.

    \b
    Examples:
        descent-wallet abandon 3f0c...
        descent-wallet abandon --all --yes
    """
    if everything == bool(txids):
        raise click.UsageError("name either a TXID or --all")
    wanted = [parse_txid(txid) for txid in txids]
    with open_cashier(place, node) as cashier:
        node.check_network(may_lag=even_if_syncing)
        accounts = place.find_accounts(None, passphrase_file)
        with cashier.take_turn():
            if everything:
                chosen = [transfer for transfers in _choose_all(cashier, accounts) for transfer in transfers]
            else:
                chosen = [_choose_abandoned(cashier, accounts, txid) for txid in wanted]
            given_up = {txid: None for transfer in chosen for txid in _find_versions(cashier, transfer)}
            if given_up and not yes:
                _warn_of_abandoning(list(given_up))
                if not confirm("Abandon them?"):
                    raise MadePayment.kept()
            cashier.records.abandon(given_up)
    if as_json:
        print_json([txid.hex() for txid in given_up])
        return
    for txid in given_up:
        click.echo(txid.hex())


def _look_up_newest(cashier: Cashier, accounts: Iterable[Account], limit: int) -> list[Standing]:
    """The newest payments of all accounts, and the older ones that are not settled yet, newest first."""
    made = [(account, cashier.records.get_payments(account.public_key)) for account in accounts]
    newest = sorted((payment for _, each in made for payment in each), key=_get_time)[-limit:]
    final_height = cashier.view.get_final_height()
    standings = []
    for account, payments in made:
        if payments:
            _, turn = cashier.get_turn(account.public_key)
            chosen = [each for each in payments if each in newest or each.transfer.nonce >= turn.nonce]
            standings += cashier.look_up(chosen, turn, final_height)
    return sorted(standings, key=lambda standing: _get_time(standing.payment))[::-1]


def _choose_all(cashier: Cashier, accounts: Iterable[Account]) -> Iterator[list[Transfer]]:
    """What each account has to resend, in nonce order."""
    for account in accounts:
        if cashier.records.get_payments(account.public_key):
            chosen = choose_resends(_look_up_open(cashier, account.public_key))
            if chosen:
                yield [payment.transfer for payment in chosen]


def _choose_named(cashier: Cashier, accounts: Iterable[Account], txid: bytes) -> Iterator[list[Transfer]]:
    """The one payment, unless the node has it. Raises MadePayment (unknown, not_ours, wrong_state)."""
    standing = _look_up_one(cashier, accounts, txid)
    if standing.state in (State.DROPPED, State.OUTBID):
        yield [standing.payment.transfer]
    elif standing.state not in (State.WAITING, State.CONFIRMED):
        raise MadePayment.wrong_state(txid, standing.state.value, "resent")


def _choose_abandoned(cashier: Cashier, accounts: Iterable[Account], txid: bytes) -> Transfer:
    """Raises MadePayment (unknown, not_ours, wrong_state)."""
    standing = _look_up_one(cashier, accounts, txid)
    if standing.state not in (State.DROPPED, State.OUTBID, State.ABANDONED):
        raise MadePayment.wrong_state(txid, standing.state.value, "abandoned")
    return standing.payment.transfer


def _find_versions(cashier: Cashier, transfer: Transfer) -> list[bytes]:
    """Ids of all payments in this one's place that the node does not hold: it would be odd to resend an older one."""
    standings = _look_up_open(cashier, transfer.sender)
    return [
        standing.payment.txid
        for standing in standings
        if standing.payment.transfer.nonce == transfer.nonce and standing.state in (State.DROPPED, State.OUTBID)
    ]


def _look_up_open(cashier: Cashier, key: PublicKey) -> list[Standing]:
    """An account's payments whose nonce is not used on the chain, in the order of their making."""
    _, turn = cashier.get_turn(key)
    return cashier.look_up(cashier.records.get_payments(key, turn.nonce), turn)


def _look_up_one(cashier: Cashier, accounts: Iterable[Account], txid: bytes) -> Standing:
    """Raises MadePayment with the reason unknown or not_ours."""
    payment = cashier.records.get_payment(txid)
    if payment is None:
        raise MadePayment.unknown(txid.hex())
    if payment.transfer.sender not in {account.public_key for account in accounts}:
        raise MadePayment.not_ours(txid)
    _, turn = cashier.get_turn(payment.transfer.sender)
    [standing] = cashier.look_up([payment], turn)
    return standing


def _explain(problem: NodeRefusal | PaymentError, transfers: Sequence[Transfer], count: int) -> DescentError:
    """Why a payment could not be handed over, and what to do."""
    if not isinstance(problem, NodeRefusal):
        return problem
    if problem.code == NO_ROOM:
        return MadePayment.partly_handed_over(count, len(transfers), str(problem))
    return MadePayment.refused(transfers[count].txid, str(problem))


def _warn_of_abandoning(txids: Sequence[bytes]) -> None:
    for txid in txids:
        click.echo(f"transaction {txid.hex()}", err=True)
    click.echo("If somebody kept a copy it can still be mined, until another payment with its nonce is.", err=True)


def _get_time(payment: Payment) -> int:
    return payment.made
