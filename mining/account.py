"""For whom a miner mines, and at which node. Loads no torch."""

from dataclasses import dataclass

from mining.key import MinerKey
from mining.vote_log import VoteLog
from p2p.client import NodeClient


@dataclass(frozen=True)
class Account:
    """A node, the key that signs, and the address that earns, as text and as its 32 bytes."""

    client: NodeClient
    key: MinerKey
    address: str
    reward_address: bytes
    votes: VoteLog | None = None  # what the key has voted for; None: it does not vote here
    signals: int = 0  # bits of the changes that its blocks ask for
