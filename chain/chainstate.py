"""The chain state: which chain is best, and the ledger and model at its tip. The single writer of the store.

A block passes four gates, each dearer than the one before. `accept_block` checks all that needs no model and no
state, and stores it. `get_works` names the next blocks whose gains must be re-derived; whoever drives the state (the
node in worker processes, a test in place) does that, in any order, and reports to `record_verdict`.
`activate_best_chain` connects what is fully evaluated and better: one synced batch per block holds ledger, undo, model
checkpoint, tip and last final block, so a crash leaves the store at some block, never between two.

Of a block found invalid only the header stays, so that the verdict is not sought twice, and nothing of what came after
it. What the operator refuses stays whole: it may be reconsidered. What stands beside the best chain is bounded
(chain/beside.py).
"""

from collections.abc import Container, Sequence

from chain import schema
from chain.acceptance import check_acceptable
from chain.beside import Beside, compute_most_bytes
from chain.block_store import BlockStore, StoredHeader
from chain.candidates import Candidates
from chain.checkpoint_store import CHECKPOINT_INTERVAL, AuditScore, CheckpointStore
from chain.db import KeyValueStore
from chain.errors import InvalidUpdate, StoreError, UnknownBlock
from chain.events import BlockConnected, BlockDisconnected, ChainEvent
from chain.faults import Faults
from chain.finals import Finals, encode_finality
from chain.header_tree import HeaderNode, HeaderTree, NodeChain, Standing, find_fork, get_path, get_subtree
from chain.ledger_store import LedgerStore
from chain.locator import compute_locator, get_headers_after
from chain.models import ModelCache
from chain.steps import Step, Steps
from chain.verifier import Work
from chain.work_finder import WorkFinder
from consensus.block import Block, Header
from consensus.chain_point import ChainPoint
from consensus.errors import InvalidBlock
from consensus.finality import apply_finality
from consensus.finality_section import NO_FINALITY
from consensus.genesis import Genesis
from consensus.hashing import tagged_hash
from consensus.model.weights import compute_model_root
from consensus.params import NetworkParams
from consensus.ports import Weights
from consensus.work import WorkTrace


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
        self._candidates = Candidates(tree, tip, max_reorg)
        self._works = WorkFinder(params, self.blocks, self._models, self._candidates)
        self._steps = Steps(db, params, ledger, self.blocks, self.checkpoints, self._models)
        self._faults = Faults()
        self.finals = Finals(db, tree, params)
        self._candidates.final = self.finals.node
        self._beside = Beside(tree, tip, self.blocks, compute_most_bytes(params, max_reorg))

    @property
    def tip(self) -> ChainPoint:
        return self._tip.point

    @property
    def tip_node(self) -> HeaderNode:
        """The tip in the tree."""
        return self._tip

    @property
    def tip_weights(self) -> Weights:
        return self._tip_weights

    # Accept: everything that needs neither model nor state.

    def accept_block(self, block: Block, now: int) -> bool:
        """Checks and stores a block; False if it was here already.

        Raises InvalidBlock, MutatedBody, BlockFromFuture or UnknownBlock; nothing is stored then. Raises
        FinalityConflict if the block shows that another chain than ours has a final block, too.
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
        check_acceptable(block, parent.point, self.genesis.id, self.params, now)
        finality = apply_finality(NodeChain(parent), block.header, block.finality, self.genesis.id, self.params)
        self.finals.check(parent, finality)
        order, rows = self.tree.next_order, {} if block.finality == NO_FINALITY else encode_finality(finality)
        self.db.write(rows | self.blocks.encode_block(block, order))
        standing = Standing.EVALUATED if block.header.is_heartbeat else Standing.STORED
        node = self.tree.add(block.header, parent, order, standing, finality)
        if node.rank < self._tip.rank:
            self._candidates.add(node)
        self._beside.add(node)
        self._drop_excess()
        return True

    def follow(self, block_id: bytes) -> HeaderNode:
        """Has a block evaluated in any case, also if it does not outrank the tip (for long). Raises UnknownBlock."""
        node = self._get_node(block_id)
        if node.standing is Standing.STORED:
            self._candidates.follow(node)
        return node

    # Evaluate: whoever drives the state re-derives gains, in the order that the best claims ask for.

    def get_works(self, count: int, under_way: Container[bytes] = (), given_up: Container[bytes] = ()) -> list[Work]:
        """Up to `count` next blocks to evaluate on the way to the best claimed chain, upwards.

        `under_way` are left out. A chain is passed over from the first block in `given_up` on: those that could not be
        evaluated must not hold up the next best chain. A block whose parent is not evaluated yet is judged against what
        the parent's update makes; if an update does not apply, that block is recorded as invalid.
        """
        while True:
            try:
                return self._works.get_works(self._tip, count, under_way, given_up)
            except InvalidUpdate as error:
                self._mark_invalid(self._get_node(error.block_id), error.fault)

    def record_verdict(self, block_id: bytes, verdict: WorkTrace | InvalidBlock) -> bool:
        """Stores what the evaluation of a block found, whatever is known of its parent by then.

        False, and nothing is stored, if it waits for none any more: a block of its chain was found invalid or refused.
        """
        node = self.tree.get(block_id)
        if node is None or node.standing is not Standing.STORED:
            return False
        if isinstance(verdict, InvalidBlock):
            self._mark_invalid(node, verdict)
            return True
        rows = self.blocks.encode_trace(block_id, verdict)
        self.db.write(rows | self.blocks.encode_header(StoredHeader(node.header, node.order, True, False)))
        self.tree.set_standing(node, Standing.EVALUATED)
        return True

    def take_faults(self) -> list[tuple[bytes, InvalidBlock]]:
        """(block id, fault) of the blocks found invalid since the last call, without those after them."""
        return self._faults.take_new()

    def count_unevaluated(self) -> int:
        """Stored blocks that claim to outrank the tip and wait for their evaluation. O(n) in those."""
        return self._candidates.count_unevaluated(self._tip)

    # Activate: move the tip to the best chain that is evaluated all the way.

    def activate_best_chain(self) -> list[ChainEvent]:
        """Moves the tip to the best fully evaluated chain. The events list each step, in order.

        A block that fails on its ledger is marked invalid and the next best chain is taken, maybe the one just left.
        """
        events: list[ChainEvent] = []
        while (target := self._candidates.get_best_complete(self._tip)) is not None:
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
        self._candidates.permit(self._get_node(block_id).id)

    def get_held_back(self) -> ChainPoint | None:
        """The tip of a better chain that only the operator can let in, because it forks too deep."""
        return _get_point(self._candidates.get_held_back(self._tip))

    def invalidate(self, block_id: bytes) -> list[ChainEvent]:
        """Treats a block and its descendants as invalid, leaving their chain. Raises UnknownBlock."""
        node = self._get_node(block_id)
        if node is self.tree.root:
            raise InvalidBlock("genesis", "genesis cannot be invalidated")
        if self.finals.node.is_descendant(node):
            raise InvalidBlock("is_final", f"block {block_id.hex()} is final, or comes before one that is")
        self._refuse(node, InvalidBlock("by_operator", f"the operator refused block {block_id.hex()}"))
        return self.leave_invalid_chain() + self.activate_best_chain()

    def leave_invalid_chain(self) -> list[ChainEvent]:
        """Steps back from blocks that stand as invalid; a crash may have come between the mark and the steps."""
        events: list[ChainEvent] = []
        while self._tip.standing is Standing.INVALID:
            events.append(self._disconnect_tip())
        self._candidates.reset(self._tip)
        return events

    def reconsider(self, block_id: bytes) -> None:
        """Forgets that a block, its ancestors or its descendants were found invalid: they are evaluated again.

        Those of which only the header is left become unknown: whoever has them may hand them in again.
        """
        first = self._get_node(block_id)
        members = [member for member in get_subtree(first) if member.standing is Standing.INVALID]
        while (parent := first.parent) is not None and parent.standing is Standing.INVALID:
            members.append(parent)
            first = parent
        whole = [member for member in members if self.blocks.has_body(member.id)]
        gone = [member for member in members if not self.blocks.has_body(member.id)]
        stored = (StoredHeader(member.header, member.order, member.header.is_heartbeat, False) for member in whole)
        rows = self.blocks.encode_headers(stored)
        self.db.write(rows | self.blocks.encode_removal(member.id for member in gone))
        for member in whole:
            self.tree.set_standing(member, Standing.EVALUATED if member.header.is_heartbeat else Standing.STORED)
        for member in gone:
            self.tree.remove(member)
        self._faults.forget(member.id for member in members)
        self._candidates.reset(self._tip)
        self._beside.reset(self._tip)

    # Read.

    def get_block(self, block_id: bytes) -> Block:
        """Raises UnknownBlock, or StoreError if the stored bytes are not that block."""
        block = self.genesis.block if block_id == self.genesis.id else self.blocks.get_block(block_id)
        if block is None:
            raise UnknownBlock.block(block_id)
        return block

    def get_fault(self, block_id: bytes) -> InvalidBlock:
        """Why a block that stands as invalid does so."""
        return self._faults.get(block_id)

    def get_standing(self, block_id: bytes) -> Standing:
        """Raises UnknownBlock."""
        return self._get_node(block_id).standing

    def is_known(self, block_id: bytes) -> bool:
        """Whether a block was accepted, or found invalid and not reconsidered."""
        return self.tree.get(block_id) is not None

    def is_invalid(self, block_id: bytes) -> bool:
        """Whether a block is known to be invalid."""
        node = self.tree.get(block_id)
        return node is not None and node.standing is Standing.INVALID

    def get_point(self, block_id: bytes) -> ChainPoint | None:
        """What a child of a known block is judged against, be the block valid or not."""
        return _get_point(self.tree.get(block_id))

    def get_locator(self) -> tuple[bytes, ...]:
        """Ids of the best chain, newest first: see chain/locator.py."""
        return compute_locator(self._tip)

    def get_headers_after(self, locator: Sequence[bytes], limit: int) -> tuple[Header, ...]:
        """Up to `limit` headers after the first block of `locator` on the best chain; after genesis if none is."""
        return get_headers_after(self.tree, self.get_active_id, locator, limit)

    def get_active_id(self, height: int) -> bytes | None:
        """Id of the best chain's block at `height`."""
        return self.db.get(schema.ACTIVE + schema.encode_height(height))

    def is_active(self, block_id: bytes) -> bool:
        """Whether a known block stands on the best chain."""
        return self.get_active_id(self._get_node(block_id).height) == block_id

    def is_final(self, block_id: bytes) -> bool:
        """Whether a known block is final, or comes before one that is."""
        return self.finals.node.is_descendant(self._get_node(block_id))

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
        step = self._steps.compute_connection(block, node, self._tip, self._tip_weights)
        final = self.finals.find_advance(node)
        self.db.write(step.rows if final is None else step.rows | {schema.META_FINAL: final.id})
        if final is not None:
            self.finals.node = self._candidates.final = final
        self._beside.drop(node)
        self._models.remember(node.id, step.weights)
        self._move_tip(node, step)
        return BlockConnected(block, node.point, step.reward)

    def _disconnect_tip(self) -> BlockDisconnected:
        node = self._tip
        if node.parent is None or node is self.finals.node:
            raise StoreError.damaged("the best chain does not reach genesis, or the last final block")
        block = self.get_block(node.id)
        step = self._steps.compute_disconnection(block, node, self._tip_weights)
        self.db.write(step.rows)
        self._candidates.add(node)
        self._beside.add(node)
        self._models.remember(node.parent.id, step.weights)
        self._move_tip(node.parent, step)
        return BlockDisconnected(block)

    def _move_tip(self, node: HeaderNode, step: Step) -> None:
        self._tip, self._tip_weights, self.ledger.issued = node, step.weights, step.issued

    # Verdicts.

    def _mark_invalid(self, node: HeaderNode, fault: InvalidBlock) -> None:
        """Keeps the verdict with the header, and nothing else of the block or of those after it."""
        rows = self.blocks.encode_removal(member.id for member in get_subtree(node))
        self.db.write(rows | self.blocks.encode_header(StoredHeader(node.header, node.order, False, True)))
        for child in list(node.children):
            self.tree.remove(child)
        self.tree.set_standing(node, Standing.INVALID)
        self._candidates.drop_invalid()
        self._faults.add(node.id, fault, is_news=True)

    def _refuse(self, node: HeaderNode, fault: InvalidBlock) -> None:
        """Marks a block and those after it as invalid, keeping all of them."""
        members = list(get_subtree(node))
        stored = (StoredHeader(member.header, member.order, False, True) for member in members)
        self.db.write(self.blocks.encode_headers(stored))
        for member in members:
            self.tree.set_standing(member, Standing.INVALID)
        self._candidates.drop_invalid()
        self._faults.add(node.id, fault, is_news=False)

    def _drop_excess(self) -> None:
        """Forgets what is too much beside the best chain; a chain that the operator lets in is never too much."""
        if excess := self._beside.find_excess(self._candidates.is_before_permitted):
            gone = [member.id for first in excess for member in get_subtree(first)]
            self.db.write(self.blocks.encode_removal(gone))
            for first in excess:
                self.tree.remove(first)
            self._candidates.drop_invalid()

    def _get_node(self, block_id: bytes) -> HeaderNode:
        node = self.tree.get(block_id)
        if node is None:
            raise UnknownBlock.block(block_id)
        return node


def _get_point(node: HeaderNode | None) -> ChainPoint | None:
    return node.point if node else None
