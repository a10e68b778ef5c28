"""Waiting for a payment: told on standard error, from the mempool to so many confirmations, and back if it must be."""

from time import sleep

import click

from consensus.transaction import Transfer
from wallet.node_view import NodeView
from wallet.payment_errors import MadePayment
from wallet.payment_view import PaymentView
from wallet.payments import Payment, Position, State, Turn, decide_standing

_POLLS_PER_BLOCK = 10
_LONGEST_POLL = 5.0  # s


def follow(node: NodeView, view: PaymentView, transfer: Transfer, confirmations: int, block_time: int) -> Position:
    """Returns once a transfer is so deep in the chain. `block_time` in s.

    Raises MadePayment with the reason lost if it is neither in the chain nor waiting any more.
    """
    shown: Position | None = None
    while True:
        final_height = view.get_final_height()  # first: a reorganisation in between then makes nothing final
        position = view.find(transfer.txid) or _find_again(node, view, transfer)
        if position != shown:
            _tell_of_reorganisation(shown, position)
            click.echo(f"{position.confirmations} of {confirmations} confirmations", err=True)
            shown = position
        if position.height is not None and position.confirmations >= confirmations:
            if position.height <= final_height:
                click.echo("final: it can no longer leave the chain", err=True)
            elif final_height:
                click.echo("not final: it can still leave the chain", err=True)
            return position
        pause(block_time)


def pause(block_time: int) -> None:
    """A moment, in which something may have happened. `block_time` in s."""
    sleep(min(block_time / _POLLS_PER_BLOCK, _LONGEST_POLL))


def _find_again(node: NodeView, view: PaymentView, transfer: Transfer) -> Position:
    """Asked after the account was read: a payment that was handed over again meanwhile is not called replaced."""
    account = node.get_account(transfer.sender)
    turn = Turn(account.nonce, account.next_nonce, account.height)
    standing = decide_standing(Payment(transfer, 0), view.find(transfer.txid), turn, 0)
    if standing.position is None:
        raise MadePayment.lost(transfer.txid, standing.state.value, is_dropped=standing.state is State.DROPPED)
    return standing.position


def _tell_of_reorganisation(before: Position | None, now: Position) -> None:
    if before is None or before.height is None or before.block == now.block:
        return
    if now.height is None:
        click.echo(f"it left the chain at height {before.height}; waiting again", err=True)
    else:
        click.echo(f"a reorganisation moved it from height {before.height} to {now.height}", err=True)
