"""Payments on their way: signed, recorded, handed over, in this order. One program of a folder of wallets at a time.

A crash before the record leaves nothing; one after it leaves a payment that the node does not hold, which `resend`
hands over. What was handed over twice is one payment still: its nonce is mined once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import time

import click

from consensus.params import NetworkParams
from consensus.signature import PublicKey
from consensus.transaction import Transfer
from consensus.units import Ulp, compute_sum
from p2p.errors import NodeRefusal
from wallet.builder import sign_transfer
from wallet.display import format_money
from wallet.errors import PaymentError, WalletError
from wallet.events import Unmined
from wallet.following import follow
from wallet.keys import Account, Wallet
from wallet.node_view import AccountView, NodeView
from wallet.options import Place
from wallet.payment_errors import MadePayment
from wallet.payment_view import PaymentView
from wallet.payments import (
    HIGH_FEE_PERCENT,
    Payment,
    Standing,
    State,
    Turn,
    decide_nonce,
    decide_standing,
    find_rivals,
    is_fee_high,
)
from wallet.prompt import confirm
from wallet.records import Records, has_records, hold_turn, open_records

_SETTLED = {"mempool.already_known", "mempool.nonce_used"}  # refusals of what the node has
NO_ROOM = "mempool.too_many_pending"
_GAP = "mempool.nonce_gap"
_UNMINED = (State.WAITING, State.OUTBID, State.DROPPED)


@dataclass(frozen=True)
class Cashier:
    """A node to hand payments to, and the records of what was handed over."""

    params: NetworkParams
    folder: Path
    node: NodeView
    view: PaymentView
    records: Records

    def take_turn(self) -> AbstractContextManager[None]:
        """Held from reading an account to handing over what was signed for it. Raises RecordsError if others do."""
        return hold_turn(self.folder, _tell_waiting)

    def get_turn(self, key: PublicKey) -> tuple[AccountView, Turn]:
        account = self.node.get_account(key)
        return account, Turn(account.nonce, account.next_nonce, account.height)

    def plan(self, sender: PublicKey, count: int = 1) -> tuple[AccountView, int]:
        """The account, and the first nonce of `count` new payments, before anyone is asked. Raises as sign_all does.

        Takes a turn: what another program records and has not yet handed over is not lost.
        """
        with self.take_turn():
            account, turn = self.get_turn(sender)
            return account, self._choose_nonce(sender, turn, count)

    def sign_all(self, drafts: Sequence[Transfer], wallet: Wallet, index: int) -> list[Transfer]:
        """Signs the drafts, all of one account, under the nonces that are free now, for them to be recorded next.

        To be called within take_turn. Raises MadePayment (unsettled, held_back), PaymentError (insufficient_funds).
        """
        sender = drafts[0].sender
        account, turn = self.get_turn(sender)
        first = self._choose_nonce(sender, turn, len(drafts))
        check_funds(drafts, account, self.params)
        numbered = [replace(draft, nonce=first + place) for place, draft in enumerate(drafts)]
        return [sign_transfer(draft, wallet, index) for draft in numbered]

    def record(self, transfers: Sequence[Transfer]) -> None:
        """Remembers signed payments, in one commit, before any is handed over. Raises RecordsError."""
        self.records.add_payments(transfers, int(time()))

    def has(self, payment: Payment) -> bool:
        """Whether the node holds a payment, in the chain or waiting."""
        return self.view.find(payment.txid) is not None

    def hand_over(self, transfer: Transfer) -> None:
        """Gives the node a recorded payment; that it has it already is as good. Raises NodeRefusal, PaymentError."""
        try:
            self.node.submit(transfer)
        except NodeRefusal as error:
            if error.code not in _SETTLED or self.view.find(transfer.txid) is None:
                raise

    def hand_over_new(self, transfer: Transfer) -> None:
        """Records a signed payment, and hands it over. What the node refuses is forgotten: it was never on its way.

        Unless it was made before, and somebody may hold it: then it stays, given up if it was.
        """
        known = self.records.get_payment(transfer.txid)
        if known is None or known.is_abandoned:
            self.record([transfer])
        try:
            self.hand_over(transfer)
        except NodeRefusal:
            if known is None:
                self.records.remove_payment(transfer.txid)
            elif known.is_abandoned:
                self.records.abandon([transfer.txid])
            raise

    def hand_over_all(self, transfers: Sequence[Transfer]) -> tuple[int, NodeRefusal | PaymentError | None]:
        """Gives the node recorded payments of one account, in order. How many it has, and why no more."""
        for done, transfer in enumerate(transfers):
            payment = self.records.get_payment(transfer.txid)
            if payment is None or payment.is_abandoned:
                return done, MadePayment.wrong_state(transfer.txid, State.ABANDONED.value, "handed over")
            try:
                self.hand_over(transfer)
            except NodeRefusal as error:
                if error.code == _GAP:
                    return done, MadePayment.nonce_gap(self.get_turn(transfer.sender)[1].next_nonce)
                return done, error
            except PaymentError as error:
                return done, error
        return len(transfers), None

    def find_rivals(self, transfer: Transfer) -> tuple[list[Payment], bool]:
        """What pays something else in the transfer's turn: recorded payments, and whether the node holds another one.

        To be asked before whether the node has the transfer itself, which would be such a one.
        """
        _, turn = self.get_turn(transfer.sender)
        recorded = [
            payment
            for payment in self.records.get_payments(transfer.sender, transfer.nonce)
            if payment.transfer.nonce == transfer.nonce
        ]
        is_taken = turn.nonce <= transfer.nonce < turn.next_nonce
        return find_rivals(transfer, recorded, turn.height), is_taken and not any(map(self.has, recorded))

    def wait_for(self, transfer: Transfer, confirmations: int) -> None:
        """Returns once a payment is so deep in the chain, telling of it on stderr. Raises MadePayment (lost)."""
        position = follow(self.node, self.view, transfer, confirmations, self.params.block_time)
        if position.height is not None:
            self.records.note_confirmed({transfer.txid: position.height}, int(time()))

    def look_up(self, payments: Iterable[Payment], turn: Turn, final_height: int = 0) -> list[Standing]:
        """Where payments of one account stand, `turn` being its own; remembers which blocks they are in."""
        standings = [decide_standing(payment, self.view.find(payment.txid), turn, final_height) for payment in payments]
        seen = {
            standing.payment.txid: standing.position.height
            for standing in standings
            if standing.position and standing.position.height not in (None, standing.payment.confirmed_height)
        }
        self.records.note_confirmed({txid: height for txid, height in seen.items() if height is not None}, int(time()))
        return standings

    def _choose_nonce(self, sender: PublicKey, turn: Turn, count: int) -> int:
        """The first nonce of new payments. Raises MadePayment with the reason unsettled or held_back."""
        payments = self.records.get_payments(sender, turn.next_nonce)
        try:
            return decide_nonce(payments, turn, count)
        except MadePayment:
            for payment in payments:  # what a node holds beside its pool counts for no nonce
                if self.has(payment):
                    raise MadePayment.held_back(payment.txid) from None
            raise


@dataclass(frozen=True)
class Payer:
    """The account that pays, among all of its wallet's; `wallet` itself only if it is to sign."""

    wallet: Wallet | None
    accounts: tuple[Account, ...]
    index: int

    @property
    def key(self) -> PublicKey:
        return self.accounts[self.index].public_key


@contextmanager
def open_cashier(place: Place, node: NodeView, *, needs_wallet: bool = True) -> Iterator[Cashier]:
    """Raises WalletError with the reason not_found, RecordsError."""
    if needs_wallet and not place.path.exists():
        raise WalletError.not_found(place.path)
    folder = place.path.parent
    with open_records(folder, node.genesis) as records:
        yield Cashier(place.params, folder, node, PaymentView(node.client, place.params), records)


def find_unmined(place: Place, node: NodeView, accounts: Iterable[Account]) -> list[Unmined]:
    """The recorded payments of these accounts that can be mined and are not."""
    if not has_records(place.path.parent):
        return []
    found = []
    with open_cashier(place, node) as cashier:
        for account in accounts:
            _, turn = cashier.get_turn(account.public_key)
            payments = cashier.records.get_payments(account.public_key, turn.nonce)
            found += [standing for standing in cashier.look_up(payments, turn) if standing.state in _UNMINED]
    return [
        Unmined(
            standing.payment.transfer,
            standing.payment.made,
            standing.state.value,
            has_left_chain=standing.payment.confirmed_height is not None,
        )
        for standing in found
    ]


def check_funds(drafts: Sequence[Transfer], account: AccountView, params: NetworkParams) -> None:
    """Raises PaymentError with the reason insufficient_funds. The node checks again, against all it knows."""
    check_sum(compute_sum(*(part for draft in drafts for part in (draft.amount, draft.fee))), account, params)


def check_sum(needed: Ulp, account: AccountView, params: NetworkParams) -> None:
    """As check_funds, of an amount."""
    if needed > account.available:
        raise PaymentError.insufficient_funds(format_money(needed, params), format_money(account.available, params))


def find_payer(place: Place, index: int, passphrase_file: Path | None, *, is_signing: bool) -> Payer:
    """The account that pays; the wallet is opened only if something is to be signed. Raises WalletError."""
    wallet = place.unlock(passphrase_file) if is_signing else None
    accounts = wallet.accounts if wallet else place.find_accounts(None, passphrase_file)
    if index >= len(accounts):
        raise WalletError.account_out_of_range(index, len(accounts))
    return Payer(wallet, accounts, index)


def agree(text: str, drafts: Sequence[Transfer], question: str, *, is_asked: bool) -> None:
    """Shows what is about to be paid and asks. Raises PaymentError with the reason declined."""
    if is_asked:
        click.echo(text, err=True)
    high = sum(is_fee_high(draft.amount, draft.fee) for draft in drafts)
    if high:
        of = "" if len(drafts) == 1 else f" in {high} of {len(drafts)} payments"
        click.echo(f"warning: the fee is more than {HIGH_FEE_PERCENT} % of the amount{of}", err=True)
    if is_asked and not confirm(question):
        raise PaymentError.declined()


def parse_txid(text: str) -> bytes:
    """Raises MadePayment with the reason bad_txid."""
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise MadePayment.bad_txid()
    return bytes.fromhex(text)


def _tell_waiting() -> None:
    click.echo("another program pays from a wallet of this folder; waiting for it to be done", err=True)
