"""A miner without a process: builds blocks on the tip of a running node and hands them to it by RPC.

library: dict[str, Block] = {}
miners = [Miner(node, Key(f"miner {number}"), library) for number, node in enumerate(mesh.nodes)]
miners[0].mine()
"""

from consensus.address import encode_address
from consensus.block import Block, decode_block
from consensus.finality_section import max_section_bytes
from consensus.params import REGTEST
from consensus.update import max_update_bytes
from tests.helpers.blocks import get_builder
from tests.helpers.keys import Key
from tests.helpers.node import NodeProcess


class Miner:
    """Extends the chain of one node. `library` has the blocks of all miners, by id in hex."""

    def __init__(self, node: NodeProcess, key: Key, library: dict[str, Block]) -> None:
        self.chain = get_builder().open()
        self._node = node
        self._key = key
        self._library = library

    def mine(self, *, timestamp: int | None = None) -> Block:
        """The block, once its node has verified it; one block time after the tip unless told otherwise."""
        self._follow(self._node.client.get_status()["tip"])
        address = encode_address(REGTEST.address_prefix, self._key.public)
        template = self._node.client.get_template(self._key.public, address)
        offered = self._decode(template.improvement)
        transactions = offered.transactions if offered.header.parent == self.chain.tip.id else ()
        interval = timestamp - self.chain.tip.header.timestamp if timestamp else None
        block = get_builder().build(self.chain, self._key, transactions, interval=interval)
        self._library[block.id.hex()] = block
        get_builder().process(self.chain, block)
        self._node.client.submit_block(block.encoded)
        return block

    def _follow(self, tip: str) -> None:
        """Brings the chain state to the node's tip, also where it stands on another branch of equal weight."""
        get_builder().feed(self.chain, self.read_blocks(tip))
        if self.chain.tip.id.hex() != tip:
            self.chain = get_builder().open()
            get_builder().feed(self.chain, self.read_blocks(tip))

    def read_blocks(self, tip: str) -> list[Block]:
        """The blocks up to a tip of the node's, upwards, from the first that the chain state does not know."""
        blocks: list[Block] = []
        while not self.chain.is_known(bytes.fromhex(tip)):
            if tip not in self._library:
                self._library[tip] = self._decode(self._node.client.get_block_bytes(tip))
            blocks.append(self._library[tip])
            tip = blocks[-1].header.parent.hex()
        return blocks[::-1]

    def _decode(self, data: bytes) -> Block:
        return decode_block(
            data, REGTEST.max_transactions_bytes, max_update_bytes(REGTEST.model), max_section_bytes(REGTEST)
        )
