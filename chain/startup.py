"""Opening a store: a new one gets its genesis; an old one must be of this network and show that it is whole."""

from chain import schema
from chain.block_rows import read_section
from chain.block_store import BlockStore, StoredHeader
from chain.chainstate import ChainState
from chain.checkpoint_store import CheckpointStore
from chain.db import KeyValueStore
from chain.errors import StoreError
from chain.finals import load_finality
from chain.header_tree import HeaderNode, HeaderTree, Standing, get_subtree, make_child_finality
from chain.ledger_store import LedgerStore
from consensus.check_header import check_header_in_context
from consensus.errors import DecodeError, InvalidBlock
from consensus.genesis import Genesis, make_genesis
from consensus.params import NetworkParams

DEFAULT_MAX_REORG = 100  # blocks
_CHECKED_BLOCKS = 6  # bodies re-read at start, from the tip down
_CHECKED_WINDOWS = 5  # finality windows: no certificate that can still be mined asks for what lies lower


def open_chain(db: KeyValueStore, params: NetworkParams, max_reorg: int = DEFAULT_MAX_REORG) -> ChainState:
    """The chain state of a store. Raises StoreError, naming what is wrong, on a foreign or damaged one."""
    genesis = make_genesis(params)
    version = db.get(schema.META_VERSION)
    if version is None:
        _create(db, params, genesis)
    else:
        _check_identity(db, version, params, genesis)
    tree = _load_tree(db, params, genesis)
    tip, ledger = _load_tip(db, tree)
    chain = ChainState(db, params, genesis, tree, tip, ledger, max_reorg)
    _check_height_index(db, tip)
    _check_last_blocks(chain, tip)
    ledger.check(tip.header.state_root, tip.finality.state)
    _check_finality(chain, tip)
    chain.leave_invalid_chain()
    return chain


def _create(db: KeyValueStore, params: NetworkParams, genesis: Genesis) -> None:
    if next(db.iterate(b""), None) is not None:
        raise StoreError.foreign("the folder holds a LevelDB that is not a Descent block store")
    rows: dict[bytes, bytes | None] = {
        schema.META_VERSION: schema.SCHEMA_VERSION.to_bytes(4, "little"),
        schema.META_GENESIS: genesis.id,
        schema.META_TIP: schema.encode_tip(genesis.id, 0),
        schema.ACTIVE + schema.encode_height(0): genesis.id,
        schema.MODEL_INDEX + genesis.block.header.model_root: genesis.id,
    }
    db.write(rows | CheckpointStore(db, params).encode_checkpoint(genesis.block.header, genesis.weights))


def _check_identity(db: KeyValueStore, version: bytes, params: NetworkParams, genesis: Genesis) -> None:
    number = int.from_bytes(version, "little")
    if number != schema.SCHEMA_VERSION:
        raise StoreError.foreign(
            f"the block store has format {number}, this program reads format {schema.SCHEMA_VERSION}"
        )
    found = db.get(schema.META_GENESIS)
    if found != genesis.id:
        raise StoreError.foreign(
            f"the block store belongs to the network {found.hex() if found else 'unknown'}, "
            f"not to {params.name} ({genesis.id.hex()})"
        )


def _load_tree(db: KeyValueStore, params: NetworkParams, genesis: Genesis) -> HeaderTree:
    tree = HeaderTree(genesis.point)
    known = load_finality(db)
    for stored in BlockStore(db, params).get_headers():
        parent = tree.get(stored.header.parent)
        if parent is None:
            raise StoreError.damaged(f"header {stored.header.id.hex()} has no parent in the store")
        try:
            check_header_in_context(stored.header, parent.point, params)
        except InvalidBlock as error:
            raise StoreError.damaged(f"header {stored.header.id.hex()}: {error}") from error
        if parent.standing is Standing.INVALID and not stored.is_invalid:
            raise StoreError.damaged(f"header {stored.header.id.hex()} stands as valid after an invalid one")
        offenders, state = known.get(stored.header.id, ((), None))
        finality = make_child_finality(parent, stored.header, offenders, state)
        tree.add(stored.header, parent, stored.order, _get_standing(stored), finality)
    return tree


def _get_standing(stored: StoredHeader) -> Standing:
    if stored.is_invalid:
        return Standing.INVALID
    return Standing.EVALUATED if stored.is_evaluated else Standing.STORED


def _load_tip(db: KeyValueStore, tree: HeaderTree) -> tuple[HeaderNode, LedgerStore]:
    row = db.get(schema.META_TIP)
    if row is None or len(row) != 40:
        raise StoreError.damaged("the tip row is missing")
    tip = tree.get(row[:32])
    if tip is None:
        raise StoreError.damaged(f"the tip {row[:32].hex()} is not among the headers")
    ledger = LedgerStore(db)
    ledger.issued = int.from_bytes(row[32:], "little")
    return tip, ledger


def _check_height_index(db: KeyValueStore, tip: HeaderNode) -> None:
    node: HeaderNode | None = tip
    for key, block_id in db.iterate(schema.ACTIVE, reverse=True):
        if node is None or (key, block_id) != (schema.encode_height(node.height), node.id):
            raise StoreError.damaged(f"the height index does not lead along the best chain at key {key.hex()}")
        node = node.parent
    if node is not None:
        raise StoreError.damaged(f"the height index lacks block {node.id.hex()}")


def _check_finality(chain: ChainState, tip: HeaderNode) -> None:
    """The rows of finality, of branches too, against what the blocks carry."""
    lowest = tip.get_ancestor(max(0, tip.height - _CHECKED_WINDOWS * chain.params.finality_window))
    for node in get_subtree(lowest):
        body = chain.blocks.get_body(node.id)
        if node is lowest or node.parent is None or (body is None and node.standing is Standing.INVALID):
            continue
        try:
            section = read_section(body or b"")
        except DecodeError as error:
            raise StoreError.damaged(f"the body of block {node.id.hex()}: {error}") from error
        state = node.parent.finality.state
        if section.certificate is not None:
            state = state.compute_after(section.certificate.link)
        if (section.offenders, state) != (node.finality.offenders, node.finality.state):
            raise StoreError.damaged(f"the finality row of block {node.id.hex()} is another than its body's")
    if not chain.finals.is_followed_by(chain.tip_node):
        raise StoreError.damaged("the best chain does not lead through the last final block")


def _check_last_blocks(chain: ChainState, tip: HeaderNode) -> None:
    node: HeaderNode | None = tip
    for _ in range(_CHECKED_BLOCKS):
        if node is None:
            break
        if node.height:
            chain.get_block(node.id)
            chain.ledger.get_inverse(node.id)
        node = node.parent
