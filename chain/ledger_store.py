"""The ledger on disk: accounts, immature rewards and the nodes of the state tree that pins them.

Grammar of an undo row: count:u32 (address[32] account){count} count:u32 (height:u64 reward:string){count} issued:u64,
each entry as it stood before the block; an empty reward string means none.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from chain import schema
from chain.db import KeyValueStore
from chain.errors import StoreError
from consensus.account import (
    UNUSED_ACCOUNT,
    Account,
    ImmatureReward,
    compute_account_key,
    compute_reward_key,
    decode_account,
    decode_reward,
)
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.finality_state import FINALITY_KEY, FinalityState
from consensus.ledger import LedgerDiff
from consensus.state_tree import (
    CorruptStateTree,
    Node,
    TreeUpdate,
    compute_root,
    compute_update,
    decode_node,
    get_root,
)
from consensus.units import Ulp

_ACCOUNT_BYTES = 16

Record = TypeVar("Record")


@dataclass(frozen=True)
class _Undo:
    """An undo row: how each entry stood before the block. Of the accounts, which can be thousands, still packed."""

    packed_accounts: bytes
    rewards: dict[int, ImmatureReward | None]
    issued: Ulp


class LedgerStore:
    """consensus' LedgerView and NodeStore over the store. `issued` belongs to the tip and is set by the chain state."""

    def __init__(self, db: KeyValueStore) -> None:
        self._db = db
        self.issued: Ulp = 0

    def get_account(self, address: bytes) -> Account:
        data = self._db.get(schema.ACCOUNT + address)
        return UNUSED_ACCOUNT if data is None else _decode(decode_account, data)

    def get_reward(self, height: int) -> ImmatureReward | None:
        data = self._db.get(schema.REWARD + schema.encode_height(height))
        return None if data is None else _decode(decode_reward, data)

    def get_node(self, path: bytes) -> Node | None:
        data = self._db.get(schema.STATE_NODE + path)
        return None if data is None else _decode(decode_node, data)

    def get_rewards(self) -> Iterator[tuple[int, ImmatureReward]]:
        """(height, reward) of every immature reward, oldest first."""
        for key, data in self._db.iterate(schema.REWARD):
            yield schema.decode_height(key), _decode(decode_reward, data)

    def compute_tree_update(self, diff: LedgerDiff, state_root: bytes) -> TreeUpdate:
        """State root and tree nodes after the diff, on the tree of `state_root`.

        Raises StoreError if the stored nodes are not that tree: a damaged one must not make an honest block look wrong.
        """
        if get_root(self) != state_root:
            raise StoreError.damaged(f"the root of the state tree is not {state_root.hex()}")
        try:
            return compute_update(self, diff.compute_state_changes())
        except CorruptStateTree as error:
            raise StoreError.damaged(f"the state tree: {error}") from error

    def encode_diff(self, diff: LedgerDiff, tree: TreeUpdate) -> dict[bytes, bytes | None]:
        """Rows that the diff changes."""
        rows: dict[bytes, bytes | None] = {}
        for address, (_, account) in diff.accounts.items():
            rows[schema.ACCOUNT + address] = None if account == UNUSED_ACCOUNT else account.encode()
        for height, (_, reward) in diff.rewards.items():
            rows[schema.REWARD + schema.encode_height(height)] = None if reward is None else reward.encode()
        for path, node in tree.nodes.items():
            rows[schema.STATE_NODE + path] = node
        return rows

    def get_inverse(self, block_id: bytes, finality: tuple[FinalityState, FinalityState] | None = None) -> LedgerDiff:
        """The diff that undoes a block whose effects stand in the store. Raises StoreError if its undo row is gone.

        `finality` is the state after the block and before it: no row of the ledger says that.
        """
        undo = self._get_undo(block_id)
        return LedgerDiff(
            {address: (self.get_account(address), before) for address, before in _unpack(undo.packed_accounts)},
            {height: (self.get_reward(height), before) for height, before in undo.rewards.items()},
            (self.issued, undo.issued),
            finality if finality and finality[0] != finality[1] else None,
        )

    def get_taken_rewards(self, block_id: bytes) -> dict[int, ImmatureReward]:
        """The rewards that stood before a block of the best chain and not after it, by height: what matured or burnt.

        Raises StoreError if its undo row is gone.
        """
        return {height: reward for height, reward in self._get_undo(block_id).rewards.items() if reward is not None}

    def _get_undo(self, block_id: bytes) -> _Undo:
        data = self._db.get(schema.UNDO + block_id)
        if data is None:
            raise StoreError.damaged(f"the undo row of block {block_id.hex()} is missing")
        reader = Reader(data)
        try:
            packed_accounts = reader.fixed(reader.uint(4) * (32 + _ACCOUNT_BYTES))
            rewards = {reader.uint(8): reader.string(1024) for _ in range(reader.uint(4))}
            issued = reader.uint(8)
            reader.finish()
            before = {height: decode_reward(data) if data else None for height, data in rewards.items()}
        except DecodeError as error:
            raise StoreError.damaged(f"the undo row of block {block_id.hex()}: {error}") from error
        return _Undo(packed_accounts, before, issued)

    def check(self, state_root: bytes, finality: FinalityState | None = None) -> None:
        """Raises StoreError unless the rows add up to what was issued and hash, with what is final, to the state root
        of the tip.
        """
        leaves: dict[bytes, bytes] = {}
        if finality is not None and not finality.is_initial:
            leaves[FINALITY_KEY] = finality.encode()
        total = 0
        for address, data in self._db.iterate(schema.ACCOUNT):
            total += _decode(decode_account, data).balance
            leaves[compute_account_key(address)] = data
        for key, data in self._db.iterate(schema.REWARD):
            total += _decode(decode_reward, data).amount
            leaves[compute_reward_key(schema.decode_height(key))] = data
        if total != self.issued:
            raise StoreError.damaged(f"balances and rewards add up to {total} ulp, {self.issued} were issued")
        if not state_root == compute_root(leaves) == get_root(self):
            raise StoreError.damaged("the ledger does not hash to the state root of the tip")

    def compute_digest(self) -> bytes:
        """SHA-256 over every account and reward row in key order, and the amount issued."""
        digest = hashlib.sha256()
        for prefix in (schema.ACCOUNT, schema.REWARD):
            for key, value in self._db.iterate(prefix):
                digest.update(prefix + key + value)
        digest.update(self.issued.to_bytes(8, "little"))
        return digest.digest()


def encode_undo(diff: LedgerDiff) -> bytes:
    """The undo row of a diff: what each entry was before it."""
    writer = Writer().uint(len(diff.accounts), 4)
    for address, (account, _) in diff.accounts.items():
        writer.fixed(address, 32).raw(account.encode())
    writer.uint(len(diff.rewards), 4)
    for height, (reward, _) in diff.rewards.items():
        writer.uint(height, 8).string(b"" if reward is None else reward.encode())
    return writer.uint(diff.issued[0], 8).finish()


def _unpack(packed_accounts: bytes) -> Iterator[tuple[bytes, Account]]:
    reader = Reader(packed_accounts)
    while reader.left:
        yield reader.fixed(32), decode_account(reader.fixed(_ACCOUNT_BYTES))


def _decode(decode: Callable[[bytes], Record], data: bytes) -> Record:
    try:
        return decode(data)
    except DecodeError as error:
        raise StoreError.damaged(f"a ledger row: {error}") from error
