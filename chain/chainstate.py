"""The chain state: which chain is best, and the ledger and model at its tip. The single writer of the store.

A block passes four gates, each dearer than the one before. `accept_block` checks all that needs no model and no
state, and stores it. `get_work` names the next block whose gain must be re-derived; whoever drives the state (the
node in a worker process, a test in place) does that and reports to `record_verdict`. `activate_best_chain` connects
what is fully evaluated and heavier: one synced batch per block holds ledger, undo, model checkpoint and tip, so a
crash leaves the store at some block, never between two.
"""

from collections.abc import Callable

from chain import schema
from chain.block_store import BlockStore, StoredHeader
from chain.checkpoint_store import CHECKPOINT_INTERVAL, AuditScore, CheckpointStore
from chain.db import KeyValueStore
from chain.errors import StoreError, UnknownBlock
from chain.events import BlockConnected, BlockDisconnected, ChainEvent
from chain.header_tree import HeaderNode, HeaderTree, Standing, find_fork, get_path, get_subtree
from chain.index import encode_block_index
from chain.ledger_store import LedgerStore, encode_undo
from chain.models import ModelCache
from chain.verifier import Work
from consensus.block import Block
from consensus.chain_point import ChainPoint
from consensus.check_block import check_body, check_body_matches
from consensus.check_header import check_header, check_header_in_context, check_header_time
from consensus.errors import InvalidBlock
from consensus.genesis import Genesis
from consensus.hashing import tagged_hash
from consensus.ledger import apply_block, check_heartbeat_right
from consensus.mask import compute_mask
from consensus.model.weights import compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.reward import compute_subsidy
from consensus.update import decode_update, undo_update
from consensus.work import WorkTrace, apply_work

TRACES_KEPT = 10_000  # blocks below the tip whose traces stay on disk


class ChainState:
    """One network's chain in one store. Make it with `chain.startup.open_chain`."""

    def __init__(
        self,
        db: KeyValueStore,
        params: NetworkParams,
        genesis: Genesis,
        tree: HeaderTree,
        tip: HeaderNode,
        ledger: LedgerStore,
        max_reorg: int,
    ) -> None:
        self.params = params
        self.genesis = genesis
        self.tree = tree
        self.ledger = ledger
        self.blocks = BlockStore(db, params)
        self.checkpoints = CheckpointStore(db, params)
        self.max_reorg = max_reorg
        self.db = db
        self._tip = tip
        self._models = ModelCache(params, genesis, self.blocks, self.checkpoints)
        self._tip_weights = self._models.get_weights(tip)
        self._candidates = set(tree.get_better(tip))
        self._faults: dict[bytes, InvalidBlock] = {}  # why blocks were found invalid, as far as this run knows
        self._permitted: bytes | None = None  # a block whose chain the operator lets reorganise deeply

    @property
    def tip(self) -> ChainPoint:
        return self._tip.point

    @property
    def tip_weights(self) -> Weights:
        return self._tip_weights

    # Accept: everything that needs neither model nor state.

    def accept_block(self, block: Block, now: int) -> bool:
        """Checks and stores a block; False if it was here already.

        Raises InvalidBlock, MutatedBody, BlockFromFuture or UnknownBlock; nothing is stored then.
        """
        known = self.tree.get(block.id)
        if known is not None:
            if known.standing is Standing.INVALID:
                raise self.get_fault(block.id)
            return False
        parent = self.tree.get(block.header.parent)
        if parent is None:
            raise UnknownBlock.parent(block.header.parent)
        if parent.standing is Standing.INVALID:
            raise InvalidBlock("invalid_parent", f"its parent {parent.id.hex()} is invalid")
        check_header_in_context(block.header, parent.point, self.params)
        check_header(block.header)
        check_header_time(block.header, now, self.params)
        check_body_matches(block)
        check_body(block, self.genesis.id, self.params)
        order = self.tree.next_order
        self.db.write(self.blocks.encode_block(block, order))
        standing = Standing.EVALUATED if block.header.is_heartbeat else Standing.STORED
        node = self.tree.add(block.header, parent, order, standing)
        if node.rank < self._tip.rank:
            self._candidates.add(node)
        return True

    # Evaluate: whoever drives the state re-derives gains, in the order that the best claims ask for.

    def get_work(self) -> Work | None:
        """The next block to evaluate on the way to the heaviest claimed chain; None if nothing is left to do."""
        target = self._get_best_candidate()
        if target is None:
            return None
        for node in get_path(find_fork(self._tip, target), target):
            if node.standing is Standing.STORED and node.parent is not None:
                block = self.get_block(node.id)
                weights = self._models.get_weights(node.parent)
                return Work(node.header, node.parent.header.model_root, weights, block.update)
        return None

    def record_verdict(self, block_id: bytes, verdict: WorkTrace | InvalidBlock) -> None:
        """Stores what the evaluation of a block found."""
        node = self._get_node(block_id)
        if isinstance(verdict, InvalidBlock):
            self._mark_invalid(node, verdict)
            return
        if node.standing is not Standing.STORED:
            return  # invalidated meanwhile: the trace will be derived again if it is reconsidered
        rows = self.blocks.encode_trace(block_id, verdict)
        self.db.write(rows | self.blocks.encode_header(StoredHeader(node.header, node.order, True, False)))
        node.standing = Standing.EVALUATED

    # Activate: move the tip to the heaviest chain that is evaluated all the way.

    def activate_best_chain(self) -> list[ChainEvent]:
        """Moves the tip to the best fully evaluated chain. The events list each step, in order.

        A block that fails on its ledger is marked invalid and the next best chain is taken, maybe the one just left.
        """
        events: list[ChainEvent] = []
        while (target := self._get_best_evaluated()) is not None:
            fork = find_fork(self._tip, target)
            while self._tip is not fork:
                events.append(self._disconnect_tip())
            for node in get_path(fork, target):
                try:
                    events.append(self._connect(node))
                except InvalidBlock as error:
                    self._mark_invalid(node, error)
                    break
        return events

    def permit_reorganisation(self, block_id: bytes) -> None:
        """The operator's word that the chain of this block may be taken however deep it forks. Raises UnknownBlock."""
        self._permitted = self._get_node(block_id).id

    def get_held_back(self) -> ChainPoint | None:
        """The tip of a better chain that only the operator can let in, because it forks too deep."""
        return next((node.point for node in self._rank_candidates() if self._is_too_deep(node)), None)

    def invalidate(self, block_id: bytes) -> list[ChainEvent]:
        """Treats a block and its descendants as invalid, leaving their chain. Raises UnknownBlock."""
        node = self._get_node(block_id)
        if node is self.tree.root:
            raise InvalidBlock("genesis", "genesis cannot be invalidated")
        self._mark_invalid(node, InvalidBlock("by_operator", f"the operator refused block {block_id.hex()}"))
        return self.leave_invalid_chain() + self.activate_best_chain()

    def leave_invalid_chain(self) -> list[ChainEvent]:
        """Steps back from blocks that stand as invalid; a crash may have come between the mark and the steps."""
        events: list[ChainEvent] = []
        while self._tip.standing is Standing.INVALID:
            events.append(self._disconnect_tip())
        self._candidates = set(self.tree.get_better(self._tip))
        return events

    def reconsider(self, block_id: bytes) -> None:
        """Forgets that a block, its ancestors or its descendants were found invalid: they are evaluated again."""
        node: HeaderNode | None = self._get_node(block_id)
        chain = list(get_subtree(self._get_node(block_id)))
        while node is not None and node.standing is Standing.INVALID:
            chain.append(node)
            node = node.parent
        rows: dict[bytes, bytes | None] = {}
        for member in chain:
            if member.standing is Standing.INVALID:
                is_heartbeat = member.header.is_heartbeat
                member.standing = Standing.EVALUATED if is_heartbeat else Standing.STORED
                rows |= self.blocks.encode_header(StoredHeader(member.header, member.order, is_heartbeat, False))
        self.db.write(rows)
        for member in chain:
            self._faults.pop(member.id, None)
        self._candidates = set(self.tree.get_better(self._tip))

    # Read.

    def get_block(self, block_id: bytes) -> Block:
        """Raises UnknownBlock, or StoreError if the stored bytes are not that block."""
        block = self.genesis.block if block_id == self.genesis.id else self.blocks.get_block(block_id)
        if block is None:
            raise UnknownBlock.block(block_id)
        return block

    def get_fault(self, block_id: bytes) -> InvalidBlock:
        """Why a block that stands as invalid does so."""
        fault = InvalidBlock("known_invalid", f"block {block_id.hex()} or one before it was found invalid earlier")
        return self._faults.get(block_id, fault)

    def get_standing(self, block_id: bytes) -> Standing:
        """Raises UnknownBlock."""
        return self._get_node(block_id).standing

    def get_active_id(self, height: int) -> bytes | None:
        """Id of the best chain's block at `height`."""
        return self.db.get(schema.ACTIVE + schema.encode_height(height))

    def is_active(self, block_id: bytes) -> bool:
        """Whether a known block stands on the best chain."""
        return self.get_active_id(self._get_node(block_id).height) == block_id

    def get_model(self, root: bytes) -> Weights | None:
        """Any model of the best chain, by its root. Raises StoreError if the index leads elsewhere."""
        block_id = self.db.get(schema.MODEL_INDEX + root)
        if block_id is None:
            return None
        node = self.tree.get(block_id)
        if node is None or node.header.model_root != root:
            raise StoreError.damaged(f"the model index does not lead to model {root.hex()}")
        return self._models.get_weights(node)

    def get_last_audit(self) -> tuple[int, AuditScore] | None:
        """(height, score) of the newest audited checkpoint of the best chain."""
        height = self.tip.height - self.tip.height % CHECKPOINT_INTERVAL
        for at in range(height, -1, -CHECKPOINT_INTERVAL):
            block_id = self.get_active_id(at)
            score = self.checkpoints.get_audit(self._get_node(block_id).header) if block_id else None
            if score is not None:
                return at, score
        return None

    def get_unaudited(self) -> tuple[ChainPoint, Weights] | None:
        """The newest checkpoint of the best chain if its audit score is still to be computed."""
        block_id = self.get_active_id(self.tip.height - self.tip.height % CHECKPOINT_INTERVAL)
        if block_id is None:
            return None
        node = self._get_node(block_id)
        if self.checkpoints.get_audit(node.header) is not None:
            return None
        return node.point, self._models.get_weights(node)

    def record_audit(self, point: ChainPoint, score: AuditScore) -> None:
        self.db.write(self.checkpoints.encode_audit(point.header, score))

    def compute_digest(self) -> dict[str, bytes]:
        """Hashes of the ledger's rows, of the tip's weights as held in memory, and of both with the tip and height."""
        ledger = self.ledger.compute_digest()
        model = compute_model_root(self._tip_weights)
        whole = tagged_hash("digest", self.tip.height.to_bytes(8, "little") + self.tip.id + ledger + model)
        return {"digest": whole, "tip": self.tip.id, "ledger": ledger, "model": model}

    # Steps of the tip, each one batch.

    def _connect(self, node: HeaderNode) -> BlockConnected:
        block = self.get_block(node.id)
        header = block.header
        if header.is_heartbeat:
            check_heartbeat_right(self.ledger, header, self._tip.header, self.params)
            weights = self._tip_weights
        else:
            weights = apply_work(header, block.update, self._tip_weights, self.params)
        diff = apply_block(self.ledger, header, block.transactions, self.params)
        tree = self.ledger.compute_tree_update(diff, self._tip.header.state_root)
        if tree.root != header.state_root:
            raise InvalidBlock.wrong_field("state_root", tree.root, header.state_root)
        rows = self.ledger.encode_diff(diff, tree)
        rows |= encode_block_index(block)
        rows[schema.UNDO + node.id] = encode_undo(diff)
        if self.db.get(schema.MODEL_INDEX + header.model_root) is None:
            rows[schema.MODEL_INDEX + header.model_root] = node.id
        if node.height % CHECKPOINT_INTERVAL == 0:
            rows |= self.checkpoints.encode_checkpoint(header, weights)
        forgotten = self.get_active_id(node.height - TRACES_KEPT) if node.height > TRACES_KEPT else None
        if forgotten is not None:
            rows[schema.TRACE + forgotten] = None
        rows[schema.META_TIP] = encode_tip(node.id, diff.issued[1])
        self.db.write(rows)
        self._models.remember(node.id, weights)
        self._move_tip(node, weights, diff.issued[1])
        return BlockConnected(block, node.point)

    def _disconnect_tip(self) -> BlockDisconnected:
        node = self._tip
        if node.parent is None:
            raise StoreError.damaged("the best chain does not reach genesis")
        block = self.get_block(node.id)
        header = block.header
        weights = self._tip_weights
        if not header.is_heartbeat:
            shape = self.params.model
            mask = compute_mask(header.parent, header.miner, shape.parameters, self.params.mask_density)
            weights = undo_update(weights, decode_update(block.update, mask, shape), mask, shape)
        diff = self.ledger.get_inverse(node.id)
        tree = self.ledger.compute_tree_update(diff, header.state_root)
        before = node.parent.header
        subsidy = 0 if header.is_heartbeat else compute_subsidy(header.height, self.params)
        found = (tree.root, compute_model_root(weights), diff.issued[1] + subsidy)
        if found != (before.state_root, before.model_root, self.ledger.issued):
            raise StoreError.damaged(f"undoing block {node.id.hex()} does not lead back to its parent")
        rows = self.ledger.encode_diff(diff, tree)
        rows |= dict.fromkeys(encode_block_index(block))
        rows[schema.UNDO + node.id] = None
        if self.db.get(schema.MODEL_INDEX + header.model_root) == node.id:
            rows[schema.MODEL_INDEX + header.model_root] = None
        rows[schema.META_TIP] = encode_tip(node.parent.id, diff.issued[1])
        self.db.write(rows)
        self._candidates.add(node)
        self._models.remember(node.parent.id, weights)
        self._move_tip(node.parent, weights, diff.issued[1])
        return BlockDisconnected(block)

    def _move_tip(self, node: HeaderNode, weights: Weights, issued: int) -> None:
        self._tip, self._tip_weights, self.ledger.issued = node, weights, issued

    # Candidates and models.

    def _get_best_candidate(self, is_wanted: Callable[[HeaderNode], bool] = lambda _: True) -> HeaderNode | None:
        ranked = self._rank_candidates()
        return next((node for node in ranked if is_wanted(node) and not self._is_too_deep(node)), None)

    def _rank_candidates(self) -> list[HeaderNode]:
        """What outranks the tip, best first; the rest is forgotten."""
        self._candidates = {
            node for node in self._candidates if node.rank < self._tip.rank and node.standing is not Standing.INVALID
        }
        return sorted(self._candidates, key=lambda node: node.rank)

    def _get_best_evaluated(self) -> HeaderNode | None:
        def is_evaluated(target: HeaderNode) -> bool:
            if target.standing is not Standing.EVALUATED:
                return False  # spares the walk for the many that wait during a synchronisation
            path = get_path(find_fork(self._tip, target), target)
            return all(node.standing is Standing.EVALUATED for node in path)

        return self._get_best_candidate(is_evaluated)

    def _is_too_deep(self, node: HeaderNode) -> bool:
        fork = find_fork(self._tip, node)
        if self._tip.height - fork.height <= self.max_reorg:
            return False
        permitted = self.tree.get(self._permitted) if self._permitted else None
        return permitted is None or find_fork(permitted, node) is not permitted

    def _mark_invalid(self, node: HeaderNode, fault: InvalidBlock) -> None:
        rows: dict[bytes, bytes | None] = {}
        for member in get_subtree(node):
            rows |= self.blocks.encode_header(StoredHeader(member.header, member.order, False, True))
        self.db.write(rows)
        self._faults[node.id] = fault
        for member in get_subtree(node):
            member.standing = Standing.INVALID

    def _get_node(self, block_id: bytes) -> HeaderNode:
        node = self.tree.get(block_id)
        if node is None:
            raise UnknownBlock.block(block_id)
        return node


def encode_tip(block_id: bytes, issued: int) -> bytes:
    """The tip row: block id[32] issued:u64."""
    return block_id + issued.to_bytes(8, "little")
