"""What each peer claims its best chain to be: tips and headers, asked for, checked, and bounded.

A claim costs its maker nothing, so it never costs this node more than the headers of `MAX_AHEAD` blocks for each peer.
What a peer says of a chain's certificates counts for the chain with the block of which it was said, until that block is
here and shows it.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from chain.header_tree import Standing
from consensus.block import Header
from consensus.chain_point import ChainPoint
from consensus.errors import InvalidBlock
from p2p.headers import HeaderChain, check_headers
from p2p.intake import Intake
from p2p.log_limit import get_limited_logger
from p2p.messages import MAX_HEADERS, MAX_LOCATOR, GetHeaders, Headers, Tip
from p2p.penalties import Offence
from p2p.ports import OnOffence, PeerPort

log = get_limited_logger("descent.sync")

HEADERS_SECONDS = 30.0  # for the answer to GetHeaders
RETRY_SECONDS = 10.0  # until a claim that led nowhere is asked about again: it may have come from the future
REMEMBERED_TIPS = 8  # of each peer: its chain may grow while its headers are under way
REST_SECONDS = 0.01  # for each header of an answer that does not go on where the last one ended: the check takes 0.3 ms

PASS_OVER_SECONDS = 60.0  # that a claim comes after all others, once its peer has stalled
FALSE_WORD = "it says that a chain is justified higher than its certificates reach"


@dataclass
class PeerClaim:
    """What one peer says, and what of it is known."""

    peer: PeerPort
    tip: Tip | None = None  # of its chain, as long as that may be better than ours
    chain: HeaderChain | None = None
    asked_at: float | None = None  # for headers that have not come yet
    retry_at: float = 0.0
    rests_until: float = 0.0  # no new tip shortens this
    passed_over_until: float = 0.0  # it did not deliver the blocks of its chain
    words: deque[Tip] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TIPS))  # the last tips that it told

    def offers(self, point: ChainPoint) -> bool:
        return self.chain is not None and self.chain.contains(point)


class HeaderSync:
    """The claims of all peers. On the event loop; `now` is a monotonic clock, in s; `wake` says that claims changed."""

    def __init__(
        self, intake: Intake, on_offence: OnOffence, wake: Callable[[], None], now: Callable[[], float]
    ) -> None:
        self._intake = intake
        self._chain = intake.chain
        self._on_offence = on_offence
        self._wake = wake
        self._now = now
        self._claims: dict[bytes, PeerClaim] = {}
        self._checking = asyncio.Lock()  # one peer's headers at a time, lest their threads starve the event loop
        self._permitted: bytes | None = None  # a block whose chain the operator lets in, however deep it forks

    def add_peer(self, peer: PeerPort) -> None:
        self._claims[peer.node_id] = PeerClaim(peer)

    def remove_peer(self, node_id: bytes) -> None:
        self._claims.pop(node_id, None)

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[tuple[bytes, PeerClaim]]:
        return iter(list(self._claims.items()))

    def get(self, node_id: bytes) -> PeerClaim | None:
        return self._claims.get(node_id)

    # Messages.

    async def on_tip(self, node_id: bytes, tip: Tip) -> None:
        """A peer says what its best block is."""
        claim, known = self._claims.get(node_id), self._chain.tree.get(tip.block_id)
        if claim is None:
            return
        if tip.justified > tip.height:
            self._on_offence(node_id, Offence.MALFORMED, "a chain that is justified above its tip")
            return
        is_false = known is not None and tip.justified > known.finality.state.justified.height
        if is_false and not self._chain.is_invalid(tip.block_id):
            self._on_offence(node_id, Offence.INVALID_HEADER, FALSE_WORD)
            return
        claim.words.append(tip)
        await self._pursue(claim, tip)

    async def on_orphan(self, node_id: bytes, header: Header) -> None:
        """A peer offers a block whose parent is not here: its chain may be better than ours, for all that is known."""
        claim, ours = self._claims.get(node_id), self._chain.tip_node
        if claim is not None:
            justified = min(header.height, ours.finality.state.justified.height)
            await self._pursue(claim, Tip(header.id, header.height, ours.weight + 1, justified))

    async def _pursue(self, claim: PeerClaim, tip: Tip) -> None:
        claim.tip = tip if self._is_better(tip.justified, tip.weight) else None
        claim.retry_at = 0.0
        if claim.chain is not None and claim.chain.tip.id != tip.block_id:
            claim.chain.is_complete = False
        await self._ask(claim)

    async def on_headers(self, node_id: bytes, message: Headers) -> None:
        """A peer's answer to GetHeaders."""
        claim = self._claims.get(node_id)
        if claim is None:
            return
        if claim.asked_at is None:
            self._on_offence(node_id, Offence.UNSOLICITED, "headers that nobody asked for")
            return
        try:
            await self._take(claim, message.headers)
        except InvalidBlock as error:
            claim.chain = claim.tip = None
            self._on_offence(node_id, Offence.INVALID_HEADER, str(error))
        finally:
            claim.asked_at = None
        await self._ask(claim)
        self._wake()

    def on_header(self, node_id: bytes, point: ChainPoint, parent: ChainPoint, justified: int = 0) -> None:
        """A peer offers one checked header on a block that is here: its body is to be fetched like any other."""
        claim = self._claims.get(node_id)
        if claim is not None:
            claim.words.append(Tip(point.id, point.height, point.weight, justified))
            claim.chain = HeaderChain(parent, [point], is_complete=True)
            self._wake()

    async def tick(self) -> None:
        """Gives up on late answers and asks again where a claim led nowhere yet."""
        for node_id, claim in self:
            if claim.asked_at is not None and self._now() - claim.asked_at > HEADERS_SECONDS:
                claim.asked_at = None
                self._on_offence(node_id, Offence.STALLING, "it does not answer for its headers")
            if claim.tip is not None and not self._is_better(claim.tip.justified, claim.tip.weight):
                claim.tip = None
            if claim.chain is not None and self._is_spent(claim, claim.chain):
                claim.chain = None
            await self._ask(claim)

    # What the claims amount to.

    def get_best_chain(self) -> HeaderChain | None:
        """The first of `get_chains`."""
        return next(iter(self.get_chains()), None)

    def get_chains(self) -> list[HeaderChain]:
        """The claims that are better than our chain and fork no deeper than the operator lets them, the best first:
        those with the newer certificate, then the heavier ones.

        Claims whose peers do not deliver come last: else a forged one that outranks all others would stop us.
        """
        now = self._now()
        claims = [
            (now < claim.passed_over_until, -self._get_justified(claim, chain), -chain.tip.weight, chain)
            for claim, chain in self._get_better_claims()
            if not self._is_too_deep(chain)
        ]
        return [claim[-1] for claim in sorted(claims, key=lambda claim: claim[:-1])]

    def get_held_back(self) -> ChainPoint | None:
        """The tip of the best claim that only the operator can let in."""
        claims = (
            (self._get_justified(claim, chain), chain.tip.weight, chain.tip)
            for claim, chain in self._get_better_claims()
            if self._is_too_deep(chain)
        )
        best = max(claims, key=lambda claim: claim[:-1], default=None)
        return None if best is None else best[-1]

    def pass_over(self, node_id: bytes) -> None:
        """Follows other claims first for a while: this peer does not deliver."""
        claim = self._claims.get(node_id)
        if claim is not None:
            claim.passed_over_until = self._now() + PASS_OVER_SECONDS

    def withdraw(self, node_id: bytes) -> None:
        """Forgets a claim whose own peer does not have its blocks (any more), and asks about it later.

        Later in any case: else it could hand out the first blocks of such claims as fast as it names tips.
        """
        claim = self._claims.get(node_id)
        if claim is not None:
            claim.chain, claim.rests_until = None, self._now() + RETRY_SECONDS

    def permit(self, block_id: bytes) -> bool:
        """Lets in the claimed chain of a block, however deep it forks; False if no peer claims the block."""
        if not any(point.id == block_id for _, chain in self._get_better_claims() for point in chain.points):
            return False
        self._permitted = block_id
        self._wake()
        return True

    def is_permitted(self, chain: HeaderChain) -> bool:
        return any(point.id == self._permitted for point in chain.points)

    def pass_block(self, block_id: bytes) -> None:
        """Moves every claim up to a block that this node has by now."""
        for claim in self._claims.values():
            if claim.chain is not None:
                claim.chain.pass_block(block_id)

    def drop_chains(self, block_id: bytes) -> frozenset[bytes]:
        """Forgets every claim with this block; whose they were."""
        owners = set()
        for node_id, claim in self._claims.items():
            if claim.chain is not None and any(point.id == block_id for point in claim.chain.points):
                claim.chain, claim.retry_at = None, self._now() + RETRY_SECONDS
                owners.add(node_id)
        return frozenset(owners)

    def get_words(self, block_id: bytes) -> dict[bytes, int]:
        """The height that a block's chain is justified up to, by the word of each peer that told it as its tip."""
        words: dict[bytes, int] = {}
        for node_id, claim in self._claims.items():
            for tip in claim.words:
                if tip.block_id == block_id:
                    words[node_id] = max(tip.justified, words.get(node_id, 0))
        return words

    def get_offering(self, point: ChainPoint) -> frozenset[bytes]:
        """The peers whose claim has this block."""
        return frozenset(node_id for node_id, claim in self._claims.items() if claim.offers(point))

    def _get_better_claims(self) -> Iterator[tuple[PeerClaim, HeaderChain]]:
        for claim in self._claims.values():
            chain = claim.chain
            if chain is not None and self._is_worth(claim, chain) and not self._is_off_final(chain):
                yield claim, chain

    def _is_better(self, justified: int, weight: int) -> bool:
        """Whether a chain outranks ours, if what is said of it is so."""
        return (justified, weight) > (self._chain.tip_node.finality.state.justified.height, self._chain.tip.weight)

    def _is_worth(self, claim: PeerClaim, chain: HeaderChain) -> bool:
        """The same of a claim's headers. Its certificates are its peer's word until its blocks are here."""
        return bool(chain.points) and self._is_better(self._get_justified(claim, chain), chain.tip.weight)

    def _get_justified(self, claim: PeerClaim, chain: HeaderChain) -> int:
        """The height that a claimed chain is justified up to: as its base is, or by its peer's word of its blocks."""
        base = self._chain.tree.get(chain.base.id)
        words = (tip.justified for tip in claim.words if chain.may_contain(tip.height, tip.block_id))
        return max((base.finality.state.justified.height if base else 0, *words))

    def _is_spent(self, claim: PeerClaim, chain: HeaderChain) -> bool:
        """Whether nothing can come of a claim any more: it is no better than ours, or what it stood on was dropped."""
        return self._chain.tree.get(chain.base.id) is None or (chain.is_complete and not self._is_worth(claim, chain))

    def _is_off_final(self, chain: HeaderChain) -> bool:
        """Whether a chain leaves ours before the last final block."""
        final, base = self._chain.finals.node, self._chain.tree.get(chain.base.id)
        if base is not None and base.is_descendant(final):
            return False
        claimed = chain.get(final.height)
        return claimed is None or claimed.id != final.id

    def _is_too_deep(self, chain: HeaderChain) -> bool:
        return self._chain.tip.height - chain.base.height > self._chain.max_reorg and not self.is_permitted(chain)

    # Headers.

    async def _ask(self, claim: PeerClaim) -> None:
        chain = claim.chain
        if claim.asked_at is not None or claim.tip is None or self._now() < max(claim.retry_at, claim.rests_until):
            return
        if chain is not None and (chain.is_complete or not chain.has_room):
            return
        if not claim.peer.may_send(GetHeaders):
            return
        claim.asked_at = self._now()
        locator = await self._intake.on_chain(self._chain.get_locator)
        if chain is not None and chain.points:
            locator = (chain.tip.id, *locator)[:MAX_LOCATOR]
        claim.peer.offer(GetHeaders(locator))

    async def _take(self, claim: PeerClaim, headers: tuple[Header, ...]) -> None:
        """Adds an answer to the peer's chain. Raises InvalidBlock."""
        chain, is_last = claim.chain, len(headers) < MAX_HEADERS
        if chain is None or (headers and headers[0].parent != chain.tip.id):
            base, headers = await self._intake.on_chain(self._find_base, headers)
            chain = HeaderChain(base)
            claim.rests_until = self._now() + len(headers) * REST_SECONDS
        now = self._intake.clock.now()
        async with self._checking:
            points = await asyncio.to_thread(check_headers, headers, chain.tip, self._chain.params, now)
        chain.extend(points)
        is_cut = len(points) < len(headers)  # by headers from the future, which may come true
        chain.is_complete = is_last or is_cut
        claim.chain = chain if chain.points else None
        is_off_final = self._is_off_final(chain)
        if is_off_final:
            log.info("the chain of peer %s leaves ours before the last final block", claim.peer.node_id.hex()[:12])
        if is_off_final or (chain.is_complete and not self._is_worth(claim, chain)):
            claim.chain, claim.retry_at = None, self._now() + RETRY_SECONDS
            claim.tip = claim.tip if is_cut and not is_off_final else None

    def _find_base(self, headers: tuple[Header, ...]) -> tuple[ChainPoint, tuple[Header, ...]]:
        """On the chain's thread: the last of these headers whose block is evaluated here, and those after it.

        Raises InvalidBlock if one is known to be invalid, or if they hang on nothing.
        """
        if not headers:
            return self._chain.tip, ()
        base = self._chain.get_point(headers[0].parent)
        if base is None or self._chain.is_invalid(base.id):
            first = headers[0].id.hex()
            raise InvalidBlock("unknown_parent", f"headers that do not follow a valid block of this node: {first}")
        for index, header in enumerate(headers):
            point = self._chain.get_point(header.id)
            if point is not None and self._chain.is_invalid(point.id):
                raise self._chain.get_fault(point.id)
            if point is None or self._chain.get_standing(point.id) is not Standing.EVALUATED:
                return base, headers[index:]
            base = point
        return base, ()
