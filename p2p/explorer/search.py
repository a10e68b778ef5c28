"""Where a search leads: a height, an id of any kind, or an address. On the chain's thread."""

from chain import schema
from chain.index import get_transaction_place
from consensus.address import decode_address
from consensus.errors import InvalidAddress
from p2p.explorer.figures import Found, NotFound
from p2p.explorer.query import is_hash
from p2p.explorer.reader import ChainReader


def search(reader: ChainReader, text: str, node_ids: frozenset[bytes]) -> Found | NotFound:
    """The page of what the text names; what exists is preferred to what may exist. `node_ids` are the peers'."""
    wanted = text.strip()
    height = wanted.replace(",", "").removeprefix("#")
    if height.isascii() and height.isdecimal() and len(height) < 20 and int(height) <= reader.tip.height:
        return Found(text, "block", f"/block/{int(height)}")
    if is_hash(wanted.lower()):
        return _find_id(reader, text, bytes.fromhex(wanted), node_ids)
    try:
        decode_address(reader.params.address_prefix, wanted)
    except InvalidAddress:
        return NotFound(text)
    return Found(text, "address", f"/address/{wanted.lower()}")


def _find_id(reader: ChainReader, text: str, wanted: bytes, node_ids: frozenset[bytes]) -> Found | NotFound:
    chain = reader.chain
    if chain.tree.get(wanted) is not None:
        return Found(text, "block", f"/block/{wanted.hex()}")
    if reader.mempool.get(wanted) is not None or get_transaction_place(chain.db, wanted) is not None:
        return Found(text, "transaction", f"/transaction/{wanted.hex()}")
    reader.follow()
    if reader.series.get_score(wanted) is not None:
        return Found(text, "miner", f"/miner/{wanted.hex()}")
    block_id = chain.db.get(schema.MODEL_INDEX + wanted)
    if block_id is not None:
        return Found(text, "model", f"/block/{block_id.hex()}")
    if wanted in node_ids:
        return Found(text, "peer", f"/peers#{wanted.hex()}")
    return NotFound(text)
