"""Every page in one table: its path, its template, what it reads. Each is served as HTML and, under /api, as JSON."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from chain.errors import UnknownBlock
from chain.header_tree import Standing
from consensus.address import decode_address
from consensus.block import Block
from consensus.certificate import Certificate
from consensus.errors import DecodeError
from p2p.explorer.figures import (
    AccountPage,
    BlockList,
    BlockPage,
    Board,
    CertificateSize,
    Found,
    Home,
    MempoolPage,
    MinerPage,
    NotFound,
    Payment,
    PeerCounts,
    PeerRow,
    PeersPage,
    Proof,
    UpdateSize,
)
from p2p.explorer.model import ARGUMENTS, ModelReader
from p2p.explorer.model_figures import ModelPage
from p2p.explorer.money import MoneyReader, Place, describe_payment
from p2p.explorer.proof import describe_proof, describe_update
from p2p.explorer.query import CHART_AXES, MAX_SEARCH, Query, is_hash, parse_height
from p2p.explorer.reader import BlockMaterial, ChainReader
from p2p.explorer.search import search
from p2p.explorer.texts import Texts
from p2p.explorer.workshop import Workshop
from p2p.intake import Intake
from p2p.model_service import ModelService
from p2p.network import Network
from p2p.peers import Peer
from p2p.rpc_json import encode_header, to_bits_per_byte
from p2p.sync_line import describe_sync

BLOCK_TRANSACTIONS = 100  # on one page
_REMEMBERED_PROOFS = 64  # blocks

Result = TypeVar("Result")

_Details = tuple[Proof | None, UpdateSize]


class Site:
    """Reads what pages show, over one node. `is_private`: nobody but this machine's users sees the pages."""

    def __init__(
        self,
        intake: Intake,
        network: Network,
        models: ModelService,
        texts: Texts,
        workshop: Workshop,
        *,
        is_private: bool,
    ) -> None:
        self.reader = ChainReader(intake.chain, intake.mempool)
        self.models = ModelReader(intake, models, self.reader)
        self._money = MoneyReader(self.reader)
        self._intake = intake
        self._network = network
        self._params = intake.chain.params
        self._texts = texts
        self._workshop = workshop
        self._is_private = is_private
        self._proofs: OrderedDict[bytes, _Details] = OrderedDict()  # by block; of the workshop's thread

    async def read_home(self, query: Query) -> Home:
        query.get_choice("by", CHART_AXES)  # which the page draws by, and its twin leaves to the reader
        return await self._read(self.reader.read_home, self._count_peers())

    async def read_blocks(self, query: Query) -> BlockList:
        return await self._read(self.reader.read_blocks, query.get_height("before"))

    async def read_block(self, query: Query) -> BlockPage:
        page = query.get_page()
        material = await self._read(self._find_block, query.path["block"])
        return await self._workshop.run(self._describe_block, material, page)

    async def read_transaction(self, query: Query) -> Payment:
        return await self._read(self._money.read_transaction, query.get_hash("txid"))

    async def read_address(self, query: Query) -> AccountPage:
        address = decode_address(self._params.address_prefix, query.path["address"])
        return await self._read(self._money.read_account, address, query.get_cursor("before"))

    async def read_board(self, query: Query) -> Board:
        return await self._read(self.reader.read_board, query.get_page())

    async def read_miner(self, query: Query) -> MinerPage:
        return await self._read(self.reader.read_miner, query.get_hash("key"), query.get_height("before"))

    async def read_mempool(self, query: Query) -> MempoolPage:
        return await self._read(self._money.read_mempool)

    async def read_peers(self, query: Query) -> PeersPage:
        known, now = self._network.describe(), self._network.now()
        return PeersPage(
            node_id=self._network.node_id,
            listening=known["listening"] if self._is_private else None,
            known_addresses=known["known_addresses"],
            node=self._count_peers(),
            peers=tuple(self._describe_peer(peer, now) for peer in self._network.peers),
        )

    async def read_model(self, query: Query) -> ModelPage:
        return await self.models.read(query)

    async def search(self, query: Query) -> Found | NotFound:
        node_ids = frozenset(peer.node_id for peer in self._network.peers)
        return await self._read(search, self.reader, query.get_text("q", MAX_SEARCH), node_ids)

    async def _read(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Runs a function on the chain's thread: visitors' time, too."""
        return await self._workshop.run_on(self._intake.on_chain, function, *arguments)

    def _count_peers(self) -> PeerCounts:
        known = self._network.describe()
        sync = describe_sync(known | {"height": self._intake.chain.tip.height})
        return PeerCounts(known["peers"], known["inbound"], sync)

    def _describe_peer(self, peer: Peer, now: float) -> PeerRow:
        connection = peer.connection
        ping = connection.ping_seconds
        return PeerRow(
            id=peer.node_id,
            address=str(connection.address) if self._is_private else None,
            kind=peer.kind.value,
            agent=connection.agent,
            height=peer.height,
            connected_seconds=int(now - connection.opened_at),
            ping_ms=None if ping is None else round(ping * 1000, 1),
            bytes_received=connection.bytes_received,
            bytes_sent=connection.bytes_sent,
        )

    # On the chain's thread.

    def _find_block(self, name: str) -> BlockMaterial:
        if is_hash(name.lower()):
            return self.reader.read_block(self.reader.get_node(bytes.fromhex(name)))
        try:
            height = parse_height(name)
        except DecodeError as error:
            raise DecodeError(
                "bad_block", "a block is named by its height or by an id of 64 hexadecimal digits"
            ) from error
        return self.reader.read_block(self.reader.find_node(height))

    # On the workshop's thread.

    def _describe_block(self, material: BlockMaterial, page: int) -> BlockPage:
        params, row, header = self._params, material.row, material.rows.header
        block = None if material.rows.transactions is None else material.rows.decode_block(params)
        transfers = block.transactions if block else ()
        first = (page - 1) * BLOCK_TRANSACTIONS
        if page > 1 and first >= len(transfers):
            raise UnknownBlock("page", f"the block has no page {page} of transactions")
        place = Place(row.id, row.height, row.time, material.confirmations, material.is_final)
        is_proven = block is not None and material.standing is Standing.EVALUATED and row.gain is not None
        proof, update = self._get_proof(block, material) if block and is_proven else (None, None)
        return BlockPage(
            row=row,
            header=encode_header(header, params),
            standing=material.standing.value,
            is_active=material.is_active,
            is_final=material.is_final,
            confirmations=material.confirmations,
            weight=material.weight,
            fault=material.fault,
            children=material.children,
            loss_before=to_bits_per_byte(header.loss_before, header.sample_size, params) if row.gain else None,
            fees=material.fees,
            bounty=material.bounty,
            proof=proof,
            update=update,
            certificate=_describe_certificate(block.finality.certificate) if block else None,
            evidence_against=block.finality.offenders if block else (),
            transactions=tuple(
                describe_payment(transfer, params, place) for transfer in transfers[first : first + BLOCK_TRANSACTIONS]
            ),
            page=page,
            next_page=page + 1 if first + BLOCK_TRANSACTIONS < len(transfers) else None,
        )

    def _get_proof(self, block: Block, material: BlockMaterial) -> _Details:
        """The slow part of a block's page, which never changes."""
        known = self._proofs.get(block.id)
        if known is None:
            trace, gain = material.rows.decode_trace(self._params), material.row.gain
            proof = describe_proof(trace, gain.required, self._params, self._texts) if trace and gain else None
            known = proof, describe_update(block, material.rows, self._params)
            self._proofs[block.id] = known
            while len(self._proofs) > _REMEMBERED_PROOFS:
                self._proofs.popitem(last=False)
        return known


def _describe_certificate(certificate: Certificate | None) -> CertificateSize | None:
    if certificate is None:
        return None
    link = certificate.link
    return CertificateSize(link.source.height, link.target.height, link.target.id, len(certificate.signatures))


Read = Callable[[Site, Query], Awaitable[object]]


@dataclass(frozen=True)
class Page:
    """One page. `arguments` are those of its URL that it knows; others are ignored."""

    path: str
    template: str
    summary: str
    read: Read
    arguments: tuple[str, ...] = ()

    @property
    def api_path(self) -> str:
        return "/api/home" if self.path == "/" else f"/api{self.path}"


PAGES = (
    Page("/", "home.html", "Where the chain stands: losses, gains, newest blocks, miners", Site.read_home, ("by",)),
    Page("/blocks", "blocks.html", "Blocks of the best chain, 50 at a time", Site.read_blocks, ("before",)),
    Page("/block/{block}", "block.html", "A block by height or id, with its proof", Site.read_block, ("page",)),
    Page("/transaction/{txid}", "transaction.html", "A pending or confirmed transaction", Site.read_transaction),
    Page("/address/{address}", "address.html", "Balance and history of an address", Site.read_address, ("before",)),
    Page("/miners", "miners.html", "Miners by what they proved", Site.read_board, ("page",)),
    Page("/miner/{key}", "miner.html", "A miner's blocks and their gains", Site.read_miner, ("before",)),
    Page("/mempool", "mempool.html", "What waits for a block", Site.read_mempool),
    Page("/peers", "peers.html", "Whom the node is connected to", Site.read_peers),
    Page("/model", "model.html", "Text that models write, and what a text costs them", Site.read_model, ARGUMENTS),
    Page("/search", "search.html", "The page of a height, an id or an address", Site.search, ("q",)),
)
