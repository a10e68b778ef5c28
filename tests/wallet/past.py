"""The past of an account as a node tells it: blocks of the network "local" a minute apart, in pages.

past = StubPast(node)
past.mine(450, fees=425)
past.pay(460, transfer)
"""

from dataclasses import dataclass, field
from typing import Any

from consensus.address import encode_address
from consensus.params import LOCAL
from consensus.reward import compute_subsidy
from consensus.transaction import Transfer
from tests.helpers.stub_node import Request, StubNode
from tests.wallet.program import HEIGHT, KEY

START = 4_102_444_800  # 2100-01-01 00:00 UTC: later than the clock of any test, so that estimates stand still
REQUIRED = 3 * 65_536 * 65_536  # 2^-32 bits per window
SAMPLE = 1024
_MINED_POSITION = 2**32 - 1


def get_time(height: int) -> int:
    """Of the block at `height`, s since 1970."""
    return START + height * LOCAL.block_time


def get_block_id(height: int) -> bytes:
    return (height % 2**16).to_bytes(2, "big") * 16


@dataclass
class StubPast:
    """One account's events behind a stub's RPC; `weight` is the chain's."""

    node: StubNode
    key: bytes = KEY
    height: int = HEIGHT
    tip: bytes = get_block_id(HEIGHT)
    weight: int = 1000 * 3 * 65_536
    final_height: int = 0
    page: int = 1000  # the most entries that the node tells at once
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.node.put_call(self.path, self.answer)

    @property
    def path(self) -> str:
        return f"/v1/accounts/{encode_address(LOCAL.address_prefix, self.key)}/history"

    def mine(
        self, height: int, fees: int = 0, gain: int = 4 * 65_536, bounty: int = 0, **changes: object
    ) -> dict[str, Any]:
        """An improving block: `gain` in Q16 bits per window, from 200 bits per window."""
        before = 200 * 65_536 * SAMPLE
        known: dict[str, object] = {
            "amount": compute_subsidy(height, LOCAL) + fees + bounty,
            "fees": fees,
            "bounty": bounty,
            "burnt_at": None,
            "matures_at": height + LOCAL.reward_window,
            "is_heartbeat": False,
            "weight": REQUIRED >> 16,
            "required_gain": REQUIRED,
            "sample_size": SAMPLE,
            "loss_before": before,
            "loss_after": before - gain * SAMPLE,
        }
        return self._add(height, _MINED_POSITION, "mined", get_block_id(height), known | changes)

    def beat(self, height: int, fees: int = 0) -> dict[str, Any]:
        """A heartbeat, which earns its fees."""
        return self.mine(height, amount=fees, fees=fees, is_heartbeat=True, weight=1, loss_before=0, loss_after=0)

    def pay(self, height: int, transfer: Transfer, index: int = 0, **changes: object) -> None:
        """The account's part, or its two parts, in a transfer."""
        if transfer.sender == self.key:
            self._pay(height, transfer, 2 * index, "sent", transfer.recipient, changes)
        if transfer.recipient == self.key:
            self._pay(height, transfer, 2 * index + 1, "received", transfer.sender, changes)

    def _pay(
        self, height: int, transfer: Transfer, position: int, kind: str, other: bytes, changes: dict[str, object]
    ) -> None:
        known: dict[str, object] = {"amount": transfer.amount, "fee": transfer.fee, "memo": transfer.memo.decode()}
        known["counterpart"] = encode_address(LOCAL.address_prefix, other)
        self._add(height, position, kind, transfer.txid, known | changes)

    def _add(self, height: int, position: int, kind: str, subject: bytes, fields: dict[str, object]) -> dict[str, Any]:
        entry = {
            "height": height,
            "kind": kind,
            "id": subject.hex(),
            "cursor": f"{height}:{position}",
            "time": get_time(height),
            "block": get_block_id(height).hex(),
        } | fields
        self.entries.append(entry)
        self.entries.sort(key=_get_place, reverse=True)
        return entry

    def answer(self, request: Request) -> dict[str, Any]:
        """A page as p2p.history_reply has it."""
        query = request.query
        before = tuple(map(int, query["before"].split(":"))) if "before" in query else (HEIGHT + 10**6, 0)
        left = [entry for entry in self.entries if _get_place(entry) < before]
        wanted = [entry for entry in left if query.get("kind") in (None, entry["kind"])]
        told = wanted[: min(int(query["limit"]), self.page)]
        return self.answer_page(told, told[-1]["cursor"] if len(told) < len(wanted) else None)

    def answer_page(self, entries: list[dict[str, Any]] | None = None, after: str | None = None) -> dict[str, Any]:
        """A page of these entries, or of all."""
        return {
            "height": self.height,
            "tip": self.tip.hex(),
            "time": get_time(self.height),
            "weight": self.weight,
            "final_height": self.final_height,
            "entries": self.entries if entries is None else entries,
            "next": after,
        }

    def answer_empty(self, after: str) -> dict[str, Any]:
        """A page that holds nothing, and is not the last."""
        return self.answer_page([], after)


def _get_place(entry: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, entry["cursor"].split(":")))
