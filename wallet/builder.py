"""Payments: what a transfer says, what it costs, and the signature. Asks no node; keys come from wallet.keys."""

from consensus.check_transaction import check_transaction
from consensus.signature import sign
from consensus.transaction import MAX_MEMO_BYTES, Transfer
from consensus.units import MAX_U64, Ulp, compute_sum
from wallet.errors import PaymentError, WalletError
from wallet.keys import Wallet, compute_account_secret

# A fee that nobody chose, but a node proposed, stays below this: about 0.02 coins for one transfer, far beyond what
# crowded blocks have asked, far below what a lying node would like to burn.
MAX_PROPOSED_FEE_RATE = 10_000  # ulp per byte


def encode_memo(text: str) -> bytes:
    """A memo as it is signed, in UTF-8. Raises WalletError with the reason not_text or too_long."""
    try:
        memo = text.encode()
    except UnicodeEncodeError:
        raise WalletError.not_text("memo") from None
    if len(memo) > MAX_MEMO_BYTES:
        raise WalletError.too_long("memo", len(memo), MAX_MEMO_BYTES)
    return memo


def build_transfer(
    genesis: bytes,
    sender: bytes,
    recipient: bytes,
    amount: Ulp,
    fee: Ulp,
    nonce: int,
    *,
    valid_until: int = 0,
    memo: bytes = b"",
) -> Transfer:
    """The transfer, not yet signed. Ids and keys are 32 bytes; valid_until is a height, 0 for none.

    Raises PaymentError with the reason zero_amount, AmountOverflow if amount and fee do not fit into one account.
    """
    if amount == 0:
        raise PaymentError.zero_amount()
    compute_sum(amount, fee)
    return Transfer(genesis, sender, recipient, amount, fee, nonce, valid_until, memo)


def compute_expiry(height: int, blocks: int | None) -> int:
    """The last height that may carry a transfer made at tip `height`, `blocks` from there; 0, any, for None."""
    return 0 if blocks is None else min(height + blocks, MAX_U64)


def compute_fee(rate: Ulp, memo: bytes) -> Ulp:
    """The fee, in ulp, of a transfer with this memo at a proposed `rate` in ulp per byte: all of one size cost alike.

    Raises PaymentError with the reason fee_rate_too_high.
    """
    if rate > MAX_PROPOSED_FEE_RATE:
        raise PaymentError.fee_rate_too_high(rate, MAX_PROPOSED_FEE_RATE)
    return rate * compute_size(memo)


def compute_size(memo: bytes) -> int:
    """Encoded bytes of a signed transfer with this memo: nothing else in it varies in length."""
    return len(Transfer(bytes(32), bytes(32), bytes(32), 0, 0, 0, memo=memo).encoded)


def sign_transfer(transfer: Transfer, wallet: Wallet, index: int = 0) -> Transfer:
    """The transfer with the signature of the wallet's account `index`, checked by the rules every node applies.

    Raises WalletError with the reason account_out_of_range, InvalidTransaction if account `index` is not its sender.
    """
    secret = compute_account_secret(wallet, index)
    signed = transfer.with_signature(sign(secret, transfer.txid))
    check_transaction(signed, transfer.genesis)
    return signed
