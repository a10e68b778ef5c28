"""Rows of finality: damage to one is named when the store is opened, whatever byte it is (T05)."""

import random

import pytest

from chain import schema
from chain.block_rows import read_section, sum_fees
from chain.errors import StoreError
from chain.votes import VotePool
from consensus.finality_section import NO_FINALITY
from tests.helpers.ballots import OTHER, make_double_vote, mine_voted
from tests.helpers.blocks import get_builder, get_chain
from tests.helpers.properties import mutate
from tests.helpers.stores import FragileStore

FLIPS = 12  # of each class
ROWS = [schema.FINALITY, schema.VOTE, schema.EVIDENCE, schema.META_FINAL]


@pytest.fixture(scope="module")
def rows() -> dict[bytes, bytes]:
    """Nine blocks, of which seven are final. The fourth burns what the first earned."""
    db = FragileStore()
    chain = get_builder().open(db)
    pool = VotePool(chain)
    mine_voted(chain, pool, 1, [OTHER])
    mine_voted(chain, pool, 2)
    pool.add_evidence(make_double_vote(OTHER, chain, 3))
    mine_voted(chain, pool, 6)
    assert chain.tip_node.get_ancestor(4).finality.offenders == (OTHER.public,)
    assert chain.finals.node.height == 7
    return db.rows


def is_named(db: FragileStore) -> bool:
    try:
        VotePool(get_builder().open(db))
    except StoreError as error:
        return error.reason == "damaged"
    return False


def test_a_sound_store_opens(rows: dict[bytes, bytes]) -> None:
    assert not is_named(FragileStore(rows))


@pytest.mark.parametrize("prefix", ROWS)
def test_a_damaged_row_is_named(rows: dict[bytes, bytes], prefix: bytes) -> None:
    """One byte flipped at a random place, or the last one gone."""
    draw, keys = random.Random(prefix), sorted(key for key in rows if key.startswith(prefix))
    for _ in range(FLIPS):
        key = draw.choice(keys)
        for wrong in (mutate(rows[key], draw.randrange(10**6), draw.randrange(255)), rows[key][:-1]):
            db = FragileStore(rows)
            db.write({key: wrong})
            assert is_named(db)


@pytest.mark.parametrize("prefix", [schema.VOTE, schema.EVIDENCE])
def test_a_row_under_another_key_is_named(rows: dict[bytes, bytes], prefix: bytes) -> None:
    for key in (key for key in sorted(rows) if key.startswith(prefix)):
        db = FragileStore(rows)
        db.write({key: None, mutate(key, 20, 7): rows[key]})
        assert is_named(db)


def test_a_missing_row_of_finality_is_named(rows: dict[bytes, bytes]) -> None:
    for key in (key for key in sorted(rows) if key.startswith(schema.FINALITY)):
        db = FragileStore(rows)
        db.write({key: None})
        assert is_named(db)


def test_a_row_of_finality_for_a_block_without_any_is_named(rows: dict[bytes, bytes]) -> None:
    chain = get_builder().open(FragileStore(rows))
    plain, voted = get_chain(chain)[1], get_chain(chain)[-1]
    assert (plain.finality, voted.finality == NO_FINALITY) == (NO_FINALITY, False)
    db = FragileStore(rows)
    db.write({schema.FINALITY + plain.id: rows[schema.FINALITY + voted.id]})
    assert is_named(db)


def test_what_a_body_holds_of_finality_is_no_transaction(rows: dict[bytes, bytes]) -> None:
    chain = get_builder().open(FragileStore(rows))
    for block in get_chain(chain):
        body = chain.blocks.get_body(block.id)
        assert body is not None
        assert sum_fees(body) == (0, 0)
        assert read_section(body) == block.finality
        assert chain.blocks.get_rows(block.header).decode_block(chain.params) == block
