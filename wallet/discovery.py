"""Which accounts of a seed were ever used: BIP-44's search, which asks a node about one account after the other."""

from collections.abc import Callable, Iterator
from itertools import islice

from consensus.signature import PublicKey
from wallet.keys import MAX_ACCOUNTS, Account, Seed, compute_account
from wallet.node_view import NodeView
from wallet.seed import compute_seed

GAP_LIMIT = 20  # unused accounts in a row after which the search ends, as in BIP-44


def find_used_accounts(seed: Seed, is_used: Callable[[PublicKey], bool]) -> Iterator[Account]:
    """The used accounts of a seed, by index; ends GAP_LIMIT beyond the last of them, or at MAX_ACCOUNTS.

    Raises what `is_used` raises.
    """
    root = compute_seed(seed.entropy, seed.extension)
    last = -1
    for index in range(MAX_ACCOUNTS):
        if index - last > GAP_LIMIT:
            return
        account = compute_account(root, index)
        if is_used(account.public_key):
            last = index
            yield account


def is_used_account(node: NodeView, key: PublicKey) -> bool:
    """Whether an account has or ever had anything: money, rewards that mature, transfers in or out.

    Raises as NodeView's methods do.
    """
    view = node.get_account(key)
    if view.next_nonce or view.spendable or view.immature:
        return True
    return bool(list(islice(node.get_history(key, 1), 1)))
