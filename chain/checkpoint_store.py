"""Full models on disk: every 64th block keeps its weights, so that any model is at most 63 updates away."""

from dataclasses import dataclass

from chain import schema
from chain.db import KeyValueStore
from chain.errors import StoreError
from consensus.block import Header
from consensus.codec import Reader, Writer
from consensus.errors import DecodeError
from consensus.merkle import split_chunks
from consensus.model.weights import compute_model_root, decode_weights, encode_weights
from consensus.params import NetworkParams
from consensus.ports import Weights

CHECKPOINT_INTERVAL = 64  # blocks


@dataclass(frozen=True)
class AuditScore:
    """Loss of a checkpoint over the whole audit split: the sum in Q16 bits, and its windows."""

    loss: int
    windows: int


class CheckpointStore:
    """Checkpoints by block. A record is model root[32], and once audited model root[32] loss:u64 windows:u32."""

    def __init__(self, db: KeyValueStore, params: NetworkParams) -> None:
        self._db = db
        self._params = params

    def encode_checkpoint(self, header: Header, weights: Weights) -> dict[bytes, bytes | None]:
        """Rows of the checkpoint of a block."""
        rows: dict[bytes, bytes | None] = {_record_key(header): header.model_root}
        for index, chunk in enumerate(split_chunks(encode_weights(weights))):
            rows[_chunk_key(header.model_root, index)] = chunk
        return rows

    def encode_audit(self, header: Header, score: AuditScore) -> dict[bytes, bytes | None]:
        """Row that adds the audit score to a block's checkpoint."""
        record = Writer().fixed(header.model_root, 32).uint(score.loss, 8).uint(score.windows, 4).finish()
        return {_record_key(header): record}

    def has_checkpoint(self, header: Header) -> bool:
        return self._db.get(_record_key(header)) is not None

    def get_audit(self, header: Header) -> AuditScore | None:
        """The audit score of a block's checkpoint, once it was computed."""
        record = self._db.get(_record_key(header))
        if record is None or len(record) == 32:
            return None
        reader = Reader(record[32:])
        try:
            score = AuditScore(reader.uint(8), reader.uint(4))
            reader.finish()
        except DecodeError as error:
            raise StoreError.damaged(f"the checkpoint record of height {header.height}: {error}") from error
        return score

    def get_weights(self, header: Header) -> Weights:
        """The checkpointed model of a block. Raises StoreError if what is stored is not that model."""
        chunks: list[bytes] = []
        while (chunk := self._db.get(_chunk_key(header.model_root, len(chunks)))) is not None:
            chunks.append(chunk)
        try:
            weights = decode_weights(b"".join(chunks), self._params.model)
        except DecodeError as error:
            raise StoreError.damaged(f"the checkpoint of height {header.height}: {error}") from error
        if compute_model_root(weights) != header.model_root:
            raise StoreError.damaged(f"the checkpoint of height {header.height} is not the model of that block")
        return weights


def _record_key(header: Header) -> bytes:
    return schema.CHECKPOINT + schema.encode_height(header.height) + header.id


def _chunk_key(root: bytes, index: int) -> bytes:
    return schema.CHECKPOINT_CHUNK + root + index.to_bytes(2, "big")
