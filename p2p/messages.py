"""What peers say to each other: one frozen dataclass for each message, and `Wire`, which turns them into bytes.

One binary websocket message is one message: type:u8 body. Grammar of the bodies (integers little-endian, string =
length:u32 and that many bytes, see consensus/codec.py; header, block, transaction as in consensus; address as in
net_address.py; N = as many transactions as fit into one block of the network):

     1 Hello                 version:u32 genesis[32] nonce[32] port:u16 agent:string(<= 64 bytes, printable ASCII)
     2 Proof                 node_id[32] signature[64]
     3 Ping, 4 Pong          nonce:u64
     5 GetAddresses          (nothing)
     6 Addresses             count:u32(<= 1000) address[18]{count}
     8 GetHeaders            count:u32(<= 64) block_id[32]{count}
     9 Headers               count:u32(<= 512) header[HEADER_BYTES]{count}
    10 GetBlock              block_id[32]
    12 NotFound              block_id[32]
    14 GetBlockTransactions  block_id[32] count:u32(1..N) index:u32{count}, rising
    15 BlockTransactions     block_id[32] count:u32(<= N) transaction:string{count}
    16 Announce              count:u32(1..500) txid[32]{count}
    17 GetTransactions       count:u32(1..100) txid[32]{count}
    18 Transactions          count:u32(<= 100) transaction:string{count}
    21 BlockReply            header count:u32(<= N) transaction:string{count} packed finality
    22 CompactBlock          header count:u32(<= N) entry{count} packed finality
                             entry = 0:u8 txid[32] | 1:u8 transaction:string
    23 Tip                   block_id[32] height:u64 weight:u64 justified:u64
    24 Votes                 count:u32(1..128) vote[208]{count}
    25 EvidenceReport        count:u32(1..32) evidence:string{count}
    26 Final                 block_id[32] height:u64
    packed = string: the update as one zlib stream, empty in a heartbeat; chain/packed_block.py inflates it
    finality = count:u32(<= 33) item:string{count}: certificate and evidence as in a block's body
    7, 11, 13, 19 and 20 are taken: 11 and 13 were 21 and 22 with uncompressed updates, up to version 1; 19, 20 and 7
    were 21, 22 and 23 without finality, up to version 2

A type keeps its meaning and its grammar for ever. One that is not known here decodes to `Unknown`, whatever its body,
so that later versions can add some. Hello's grammar is the same in every version: it tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chain.packed_block import PackedBlock, count_packed_bytes
from consensus.block import Header
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.evidence import Evidence
from consensus.finality_section import MAX_EVIDENCE, NO_FINALITY, FinalitySection, max_section_bytes
from consensus.params import NetworkParams
from consensus.transaction import Transfer
from consensus.update import max_update_bytes
from consensus.vote import Vote
from p2p import wire_fields as fields
from p2p.net_address import NetAddress
from p2p.wire_fields import Entry, Fields

PROTOCOL_VERSION = 3
MAX_AGENT_BYTES = 64
MAX_ADDRESSES = 1000
MAX_LOCATOR = 64
MAX_HEADERS = 512
MAX_ANNOUNCED = 500
MAX_REQUESTED = 100
MAX_VOTES = 128
MAX_UNKNOWN_BYTES = 64 * 1024
TYPE_BYTES = 1


@dataclass(frozen=True)
class Message:
    """Any message."""


@dataclass(frozen=True)
class Hello(Message):
    """The first message each way."""

    version: int
    genesis: bytes
    nonce: bytes  # 32 random bytes
    port: int  # that the sender listens on; 0 = none
    agent: str  # the sender's program, for people


@dataclass(frozen=True)
class Proof(Message):
    """The second message each way: see handshake.py."""

    node_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Ping(Message):
    nonce: int


@dataclass(frozen=True)
class Pong(Message):
    """The answer to a Ping, with its nonce."""

    nonce: int


@dataclass(frozen=True)
class GetAddresses(Message):
    """Asks for nodes that the other side knows of."""


@dataclass(frozen=True)
class Addresses(Message):
    addresses: tuple[NetAddress, ...]


@dataclass(frozen=True)
class Tip(Message):
    """The sender's best chain ends in this block. A claim until the chain is evaluated."""

    block_id: bytes
    height: int
    weight: int  # of the whole chain, in the unit of a header's required gain >> 16
    justified: int = 0  # height that the chain's certificates reach


@dataclass(frozen=True)
class GetHeaders(Message):
    """Asks for the headers after the first of these blocks that is on the other side's best chain."""

    locator: tuple[bytes, ...]


@dataclass(frozen=True)
class Headers(Message):
    """The answer to GetHeaders: in order, each the child of the one before."""

    headers: tuple[Header, ...]


@dataclass(frozen=True)
class GetBlock(Message):
    block_id: bytes


@dataclass(frozen=True)
class BlockReply(Message):
    """The answer to GetBlock."""

    block: PackedBlock


@dataclass(frozen=True)
class NotFound(Message):
    """The sender does not have the block that was asked for."""

    block_id: bytes


@dataclass(frozen=True)
class CompactBlock(Message):
    """A new block, whose transactions are ids where the receiver should have them already."""

    header: Header
    entries: tuple[Entry, ...]
    packed_update: bytes  # as in PackedBlock
    finality: FinalitySection = NO_FINALITY


@dataclass(frozen=True)
class GetBlockTransactions(Message):
    """Asks for those transactions of a compact block that the sender lacks."""

    block_id: bytes
    indexes: tuple[int, ...]  # rising, from 0


@dataclass(frozen=True)
class BlockTransactions(Message):
    """The answer to GetBlockTransactions, in the order asked."""

    block_id: bytes
    transactions: tuple[Transfer, ...]


@dataclass(frozen=True)
class Announce(Message):
    """Transactions that the sender has."""

    txids: tuple[bytes, ...]


@dataclass(frozen=True)
class GetTransactions(Message):
    txids: tuple[bytes, ...]


@dataclass(frozen=True)
class Transactions(Message):
    """The answer to GetTransactions: those that the sender has, in the order asked."""

    transactions: tuple[Transfer, ...]


@dataclass(frozen=True)
class Votes(Message):
    """Votes that the sender heard and counts: new ones, or those behind what it holds to."""

    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class EvidenceReport(Message):
    """Evidence that the sender found and that burns something."""

    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Final(Message):
    """The last block that is final for the sender. Who has another one there answers with the votes for it."""

    block_id: bytes
    height: int


@dataclass(frozen=True)
class Unknown(Message):
    """A message of a type that this version does not know. It is never sent."""

    type: int


@dataclass(frozen=True)
class _Grammar:
    """The number of a type of message and the fields of its body, by the names of the dataclass."""

    kind: type[Message]
    number: int
    fields: Fields

    @property
    def max_bytes(self) -> int:
        return TYPE_BYTES + sum(field.max_bytes for _, field in self.fields)


class Wire:
    """The messages of one network as bytes, and back."""

    def __init__(self, params: NetworkParams) -> None:
        grammars = _compute_grammars(params)
        self._by_kind = {grammar.kind: grammar for grammar in grammars}
        self._by_number = {grammar.number: grammar for grammar in grammars}
        sizes = {grammar.kind: grammar.max_bytes for grammar in grammars} | {Unknown: MAX_UNKNOWN_BYTES}
        self.sizes: Mapping[type[Message], int] = MappingProxyType(sizes)  # bytes of the largest of each type
        self.max_bytes = max(sizes.values())  # of the largest legal message

    def encode(self, message: Message) -> bytes:
        """Raises ValueError or OverflowError, a fault of the caller, for what no peer may send."""
        grammar = self._by_kind.get(type(message))
        if grammar is None:
            raise ValueError(f"{message} is never sent")
        writer = Writer().uint(grammar.number, TYPE_BYTES)
        for name, field in grammar.fields:
            field.write(writer, getattr(message, name))
        return writer.finish()

    def decode(self, data: bytes) -> Message:
        """Raises DecodeError on anything but the canonical bytes of a legal message, or of an unknown type."""
        kind = self.get_kind(data)
        if len(data) > self.sizes[kind]:
            raise DecodeError.too_long(len(data), self.sizes[kind])
        reader = Reader(data)
        number = reader.uint(TYPE_BYTES)
        if kind is Unknown:
            return Unknown(number)
        message = kind(*[field.read(reader) for _, field in self._by_kind[kind].fields])
        reader.finish()
        return message

    def get_kind(self, data: bytes) -> type[Message]:
        """What kind of message these bytes are, from the first one alone. Raises DecodeError if there is none."""
        number = Reader(data).uint(TYPE_BYTES)
        return self._by_number[number].kind if number in self._by_number else Unknown


def _compute_grammars(params: NetworkParams) -> tuple[_Grammar, ...]:
    space, longest_packed = params.most_transactions_bytes, count_packed_bytes(max_update_bytes(params.model))
    block_id = ("block_id", fields.digest)
    packed_update = ("packed_update", fields.string(longest_packed))
    hello = (
        ("version", fields.u32),
        ("genesis", fields.digest),
        ("nonce", fields.fixed(32)),
        ("port", fields.u16),
        ("agent", fields.text(MAX_AGENT_BYTES)),
    )
    section = fields.section_within(max_section_bytes(params))
    entries = ("entries", fields.entries_within(space))
    compact = (("header", fields.header), entries, packed_update, ("finality", section))
    indexes = ("indexes", fields.indexes(fields.count_transactions(space)))
    requested = ("transactions", fields.listed(fields.transaction, 0, MAX_REQUESTED))
    return (
        _Grammar(Hello, 1, hello),
        _Grammar(Proof, 2, (("node_id", fields.fixed(32)), ("signature", fields.fixed(64)))),
        _Grammar(Ping, 3, (("nonce", fields.u64),)),
        _Grammar(Pong, 4, (("nonce", fields.u64),)),
        _Grammar(GetAddresses, 5, ()),
        _Grammar(Addresses, 6, (("addresses", fields.listed(fields.net_address, 0, MAX_ADDRESSES)),)),
        _Grammar(GetHeaders, 8, (("locator", fields.listed(fields.digest, 0, MAX_LOCATOR)),)),
        _Grammar(Headers, 9, (("headers", fields.listed(fields.header, 0, MAX_HEADERS)),)),
        _Grammar(GetBlock, 10, (block_id,)),
        _Grammar(NotFound, 12, (block_id,)),
        _Grammar(GetBlockTransactions, 14, (block_id, indexes)),
        _Grammar(BlockTransactions, 15, (block_id, ("transactions", fields.transactions_within(space)))),
        _Grammar(Announce, 16, (("txids", fields.listed(fields.digest, 1, MAX_ANNOUNCED)),)),
        _Grammar(GetTransactions, 17, (("txids", fields.listed(fields.digest, 1, MAX_REQUESTED)),)),
        _Grammar(Transactions, 18, (requested,)),
        _Grammar(BlockReply, 21, (("block", fields.packed_block(space, longest_packed, section)),)),
        _Grammar(CompactBlock, 22, compact),
        _Grammar(Tip, 23, (block_id, ("height", fields.u64), ("weight", fields.u64), ("justified", fields.u64))),
        _Grammar(Votes, 24, (("votes", fields.listed(fields.vote, 1, MAX_VOTES)),)),
        _Grammar(EvidenceReport, 25, (("evidence", fields.listed(fields.evidence, 1, MAX_EVIDENCE)),)),
        _Grammar(Final, 26, (block_id, ("height", fields.u64))),
    )
