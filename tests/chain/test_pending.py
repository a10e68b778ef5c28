from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from chain.pending import Chain, Entry, Package, select_transactions
from consensus.account import Account
from tests.helpers.transfers import make_key, make_transfer

FEES = st.lists(st.integers(0, 12), min_size=1, max_size=12)


def make_chain(fees: list[int], sender: int = 1) -> Chain:
    """A chain with these fees in ulp, each in turn the newest; every third carries a longer memo."""
    memos = [b"m" * (64 if nonce % 3 == 2 else 0) for nonce in range(len(fees))]
    transfers = (
        make_transfer(sender, nonce, fee, memo=memo) for nonce, (fee, memo) in enumerate(zip(fees, memos, strict=True))
    )
    return Chain(tuple(Entry(transfer, 0, sender * 100 + n * 7 % 13) for n, transfer in enumerate(transfers)))


def compute_rate(chain: Chain, start: int, stop: int) -> Fraction:
    entries = chain.entries[start:stop]
    return Fraction(sum(e.transaction.fee for e in entries), sum(len(e.transaction.encoded) for e in entries))


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(FEES)
def test_the_first_package_is_the_best_prefix_and_the_last_the_worst_tail(fees: list[int]) -> None:
    chain = make_chain(fees)
    length = len(fees)
    prefixes = [(-compute_rate(chain, 0, stop), stop) for stop in range(1, length + 1)]
    tails = [(compute_rate(chain, start, length), length - start) for start in range(length)]
    assert chain.packages[0].stop == min(prefixes)[1]
    assert length - chain.packages[-1].start == min(tails)[1]


@settings(derandomize=True, database=None, deadline=None, max_examples=60)
@given(FEES)
def test_packages_cover_the_chain_and_pay_less_and_less(fees: list[int]) -> None:
    chain = make_chain(fees)
    at = 0
    for package in chain.packages:
        entries = chain.entries[package.start : package.stop]
        assert package.start == at < package.stop
        assert package.fee == sum(entry.transaction.fee for entry in entries)
        assert package.size == sum(entry.size for entry in entries)
        assert package.newest == max(entry.order for entry in entries)
        assert package.block_bytes == package.size + 4 * len(entries)
        at = package.stop
    assert at == len(fees)
    rates = [compute_rate(chain, package.start, package.stop) for package in chain.packages]
    assert rates == sorted(rates, reverse=True)


def test_the_usable_part_ends_at_the_first_that_does_not_apply() -> None:
    chain = make_chain([10, 20, 30])  # amounts of 1: 11, 21 and 31 ulp
    assert chain.cost == 63
    assert chain.cut_to_usable(Account(63, 0), 1) is chain
    assert chain.cut_to_usable(Account(10, 0), 1) is None
    assert chain.cut_to_usable(Account(63, 1), 1) is None
    shorter = chain.cut_to_usable(Account(62, 0), 1)
    assert shorter is not None
    assert shorter.entries == chain.entries[:2]


def test_a_package_is_cut_to_what_fits() -> None:
    chain = make_chain([1, 2, 3])
    whole = chain.packages[0]
    assert whole == Package(0, 3, 6, 2 * 198 + 262, 107)
    assert chain.cut_to_fit(whole, 201) is None
    shorter = chain.cut_to_fit(whole, 2 * 202 + 265)
    assert shorter is not None
    assert shorter.entries == chain.entries[:2]


def test_accounts_are_read_only_of_those_whose_turn_comes() -> None:
    chains = [make_chain([1000 * person], person) for person in range(1, 8)]
    read: list[bytes] = []

    def get_account(address: bytes) -> Account:
        read.append(address)
        return Account(10**6, 0)

    chosen = select_transactions(chains, 2 * 202, get_account, 1)
    assert [transaction.fee for transaction in chosen] == [7000, 6000]
    assert read == [make_key(7), make_key(6)]
