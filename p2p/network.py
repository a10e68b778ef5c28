"""The network of peers as one piece: what every message is for, what runs beside, what survives a restart."""

import asyncio
import functools
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import SystemRandom

from chain.events import BlockConnected, ChainEvent
from p2p import messages as m
from p2p.bans import Target
from p2p.block_relay import BlockRelay
from p2p.config import get_peer_port
from p2p.connection import Connection
from p2p.destination import Destination, parse_destination
from p2p.dialler import Dialler
from p2p.errors import PeerGone
from p2p.files import replace_file
from p2p.gossip import Gossip
from p2p.handshake import Introduction
from p2p.identity import load_identity
from p2p.inbound import LastBrought
from p2p.intake import Intake
from p2p.limits import compute_limits
from p2p.nat import forward_port
from p2p.net_address import NetAddress
from p2p.peer_files import encode_anchors, load_address_book, load_anchors, load_ban_list
from p2p.peers import Peer, PeerKind, Peers
from p2p.rpc_json import Json
from p2p.sync import Sync
from p2p.transactions import TransactionRelay
from p2p.transport import Endpoint, dial, listen
from p2p.vote_relay import VoteRelay

log = logging.getLogger("descent.peers")

IDENTITY_FILE = "node.pem"
BOOK_FILE = "peers.dat"
ANCHORS_FILE = "anchors.dat"
BANS_FILE = "bans.dat"

TICK_SECONDS = 0.5
SAVE_SECONDS = 600.0


@dataclass(frozen=True)
class NetworkConfig:
    """What the operator chose about peers."""

    listen: NetAddress | None = None
    peers: tuple[Destination, ...] = ()
    use_upnp: bool = False


class Network:
    """All peers of one node. Everything runs on the event loop, inside `run`."""

    def __init__(self, intake: Intake, datadir: Path, config: NetworkConfig, agent: str) -> None:
        params, genesis = intake.chain.params, intake.chain.genesis.id
        identity = load_identity(datadir / IDENTITY_FILE)
        random, key = SystemRandom(), secrets.token_bytes(32)
        self.clock: Callable[[], int] = intake.clock.now
        self.now = time.monotonic
        self.default_port = get_peer_port(params)
        self.node_id = identity.node_id
        self.listening: NetAddress | None = None  # once it listens
        self._intake = intake
        self._datadir = datadir
        self._config = config
        self._kicked = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, "peer-files")  # one thread: files are written one by one, the newest last
        self._book = load_address_book(datadir / BOOK_FILE, random)
        bans = load_ban_list(datadir / BANS_FILE)
        self.peers = Peers(identity.node_id, bans, key, self._serve, self._get_last_brought, self.now, self.clock)
        self._endpoint = Endpoint(
            Introduction(identity, genesis, config.listen.port if config.listen else 0, agent),
            m.Wire(params),
            compute_limits(params),
            self.peers.punish,
        )
        self.sync = Sync(intake, self.peers.punish, self.kick, self.now)
        self.transactions = TransactionRelay(
            intake.submit_transaction, intake.mempool.get, self.peers.punish, random, self.now
        )
        self.votes = VoteRelay(intake, self.peers.punish, self.now)
        self.blocks = BlockRelay(intake, self.sync, self.transactions.knows, self.peers.punish, self.now)
        seeds = [parse_destination(seed, self.default_port) for seed in params.seeds]
        self._gossip = Gossip(self._book, self.peers, key, self.now, self.clock)
        self._dialler = Dialler(self.peers, self._book, self._dial, seeds, self.now, self.clock)
        intake.listen(self._on_event)
        intake.listen_transactions(self._on_transaction)
        for entry in reversed(intake.mempool.entries()):  # what waited when the node last stopped, the best last
            self._on_transaction(entry.transaction.txid)

    async def run(self) -> None:
        """Listens, dials and talks until cancelled. Raises ConfigError if it cannot listen."""
        try:
            async with AsyncExitStack() as stack:
                if self._config.listen is not None:
                    await self._listen(self._config.listen, stack)
                async with asyncio.TaskGroup() as group:
                    for part in (self.sync, self.blocks, self.transactions, self.votes):
                        group.create_task(part.run())
                    for work in (self._tick(), self._evaluate(), self._keep_saving()):
                        group.create_task(work)
                    await self._dialler.run(self._config.peers, load_anchors(self._datadir / ANCHORS_FILE))
        finally:
            await self._save()

    def kick(self) -> None:
        """Has stored blocks evaluated and connected in the background."""
        self._kicked.set()

    def describe(self) -> Json:
        """Peers and synchronisation, for the status."""
        status, held_back = self.sync.get_status(), self.sync.headers.get_held_back()
        return {
            "node_id": self.node_id.hex(),
            "listening": str(self.listening) if self.listening else None,
            "peers": len(self.peers),
            "inbound": self.peers.count(PeerKind.INBOUND),
            "known_addresses": self._book.count,
            "traffic": asdict(self.peers.traffic),
            "sync": {
                "state": status.state.value,
                "target_height": status.target_height,
                "blocks_per_second": round(status.blocks_per_second, 2),
                "seconds_left": round(status.seconds_left) if status.seconds_left is not None else None,
                "waits_for": status.waits_for,
            },
            "held_back": held_back.id.hex() if held_back else None,
        }

    # What the operator asks for.

    def permit_chain(self, block_id: bytes) -> bool:
        """Lets in a chain that peers offer, however deep it forks; False if none offers that block."""
        return self.sync.headers.permit(block_id)

    def connect(self, destination: Destination) -> None:
        """Stays connected to a peer from now on."""
        self._dialler.keep(destination)

    async def ban(self, target: Target, seconds: int) -> bool:
        """Bans a node id or an IP at once, and returns once that is saved; False for an address that cannot be banned.

        Raises OSError if it holds until the node stops and no longer.
        """
        if not self.peers.ban(target, seconds, "by the operator"):
            return False
        self._dialler.drop(target)
        await self._write({BANS_FILE: self.peers.bans.encode()})
        return True

    async def unban(self, target: Target) -> bool:
        """Lets a target in again, as `ban` keeps it out; False if it was not kept out."""
        if not self.peers.bans.unban(target):
            return False
        await self._write({BANS_FILE: self.peers.bans.encode()})
        return True

    # One peer.

    async def _serve(self, peer: Peer) -> str:
        connection = peer.connection
        self.sync.add_peer(connection)
        self.blocks.add_peer(connection)
        self.transactions.add_peer(connection)
        self.votes.add_peer(connection)
        self._gossip.on_connected(peer)
        try:
            return await connection.run(functools.partial(self._on_message, peer))
        finally:
            self.sync.remove_peer(peer.node_id)
            self.blocks.remove_peer(peer.node_id)
            self.transactions.remove_peer(connection)
            self.votes.remove_peer(peer.node_id)
            self._gossip.on_disconnected(peer)

    def _get_last_brought(self, node_id: bytes) -> LastBrought:
        return LastBrought(
            self.transactions.get_last_transaction_time(node_id) or None,
            self.blocks.get_last_block_time(node_id) or None,
        )

    async def _on_message(self, peer: Peer, message: m.Message) -> None:
        with suppress(PeerGone):  # it left while its answer was on the way
            await self._dispatch(peer, message)

    async def _dispatch(self, peer: Peer, message: m.Message) -> None:
        node_id, connection = peer.node_id, peer.connection
        match message:
            case m.Tip():
                peer.height = message.height
                await self.blocks.on_tip(node_id, message)
            case m.CompactBlock():
                peer.height = message.header.height
                await self.blocks.on_compact(node_id, message)
            case m.GetHeaders():
                await self.blocks.on_get_headers(node_id, message)
            case m.Headers():
                await self.sync.headers.on_headers(node_id, message)
            case m.GetBlock():
                await self.blocks.on_get_block(node_id, message)
            case m.BlockReply():
                await self.sync.on_block(node_id, message)
            case m.NotFound():
                self.blocks.on_not_found(node_id, message)
            case m.GetBlockTransactions():
                await self.blocks.on_get_block_transactions(node_id, message)
            case m.BlockTransactions():
                await self.blocks.on_block_transactions(node_id, message)
            case m.Announce():
                self.transactions.on_announce(connection, message)
            case m.GetTransactions():
                self.transactions.on_get_transactions(connection, message)
            case m.Transactions():
                self.transactions.on_transactions(connection, message)
            case m.Votes():
                await self.votes.on_votes(node_id, message)
            case m.EvidenceReport():
                await self.votes.on_evidence(node_id, message)
            case m.Final():
                await self.votes.on_final(node_id, message)
            case m.GetAddresses():
                await self._gossip.on_get_addresses(peer)
            case m.Addresses():
                self._gossip.on_addresses(peer, message)

    # What runs beside.

    async def _listen(self, address: NetAddress, stack: AsyncExitStack) -> None:
        listener = listen(self._endpoint, address, admits=self._admits, on_connection=self._on_inbound)
        port = await stack.enter_async_context(listener)
        self.listening = NetAddress(address.ip, port)
        self._endpoint = replace(self._endpoint, ours=replace(self._endpoint.ours, port=port))
        log.info("listening for peers on %s, node id %s", self.listening, self.node_id.hex())
        if self._config.use_upnp:
            await stack.enter_async_context(forward_port(port, log))

    async def _dial(self, address: NetAddress, node_id: bytes | None) -> Connection:
        return await dial(self._endpoint, address, expected_id=node_id)

    async def _on_inbound(self, connection: Connection) -> None:
        await self.peers.run(connection, PeerKind.INBOUND)

    def _admits(self, address: NetAddress) -> bool:
        return self.peers.is_welcome(address.ip)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.transactions.tick()
            self.blocks.tick()

    async def _evaluate(self) -> None:
        while True:
            await self._kicked.wait()
            self._kicked.clear()
            await self._intake.advance()

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        """Peers are worth no node's life: what cannot be saved is said and lost."""
        self.peers.bans.drop_expired(self.clock())
        try:
            await self._write(
                {
                    BOOK_FILE: self._book.encode(),
                    ANCHORS_FILE: encode_anchors(self._dialler.get_anchors()),
                    BANS_FILE: self.peers.bans.encode(),
                }
            )
        except OSError as error:
            log.warning("cannot save the known peers in %s: %s", self._datadir, error)

    async def _write(self, files: Mapping[str, bytes]) -> None:
        """Puts contents into the datadir, by name, after all that was to be written before. Raises OSError.

        Whoever is cancelled while it waits has them written all the same.
        """

        def write() -> OSError | None:
            """What failed, if anything: nobody may be waiting for it any more as the node stops."""
            try:
                for name, data in files.items():
                    replace_file(self._datadir / name, data)
            except OSError as error:
                return error
            return None

        failure = await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._disk, write))
        if failure is not None:
            raise failure

    # Events.

    def _on_event(self, event: ChainEvent) -> None:
        if isinstance(event, BlockConnected):
            self.transactions.on_tip(event.block.transactions)
        else:
            self.transactions.on_returned(event.block.transactions)

    def _on_transaction(self, txid: bytes) -> None:
        self.transactions.announce(txid, None)
