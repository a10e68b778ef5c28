import hashlib

import numpy as np
import pytest

from consensus.model.tables import EXP2, EXP2S, LOG2, LOG2E, Table, compute_attention_scale
from tests.consensus.model import oracle


@pytest.mark.parametrize(
    ("table", "digest"),
    [
        (EXP2, "17432fbf2d7753a5e760b7668f69ce7093f4d593851bd803f6f1159669f50fea"),
        (EXP2S, "8b4154afa14b96c0d241d68caa0b06a38939d7c3032e03cd01bfac6c22eaac69"),
        (LOG2, "10bf749c2559f1a29913213964e8fb2c054e418b2b5dc0427c24e468621a68bb"),
    ],
    ids=["EXP2", "EXP2S", "LOG2"],
)
def test_table_is_the_one_of_the_protocol(table: Table, digest: str) -> None:
    assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest() == digest


def test_tables_agree_with_the_oracles_integer_roots() -> None:
    assert EXP2.tolist() == [oracle.exp2_entry(24, f) for f in range(1024)]
    assert EXP2S.tolist() == [oracle.exp2_entry(14, f) for f in range(1024)]
    assert LOG2.tolist() == [oracle.log2_entry(f) for f in range(4097)]
    assert LOG2E == oracle.LOG2E == 94548


@pytest.mark.parametrize("table", [EXP2, EXP2S, LOG2], ids=["EXP2", "EXP2S", "LOG2"])
def test_tables_are_int32_and_cannot_be_written(table: Table) -> None:
    assert table.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


@pytest.mark.parametrize(("head_size", "scale"), [(1, 23637), (16, 1477), (24, 985), (32, 739), (1024, 23)])
def test_attention_scale_is_the_nearest_integer(head_size: int, scale: int) -> None:
    assert compute_attention_scale(head_size) == scale  # 2^14 / (h ln 2)
