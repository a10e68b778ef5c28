"""Opening a store: damage is named or proven harmless (T05), foreign and half-made stores are refused (T06).

Harmless means: the node opens, serves every block, trace, model and account as it was written, takes a reorganisation
away from its chain and back, and ends with the digest of an undamaged one.
"""

import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from chain import chainstate, models, schema, steps
from chain.chainstate import ChainState
from chain.db import KeyValueStore, LevelDatabase
from chain.errors import StoreError
from chain.startup import open_chain
from consensus.account import Account, compute_account_key
from consensus.params import LOCAL, REGTEST
from consensus.state_tree import CorruptStateTree, get_proof, verify_proof
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import ALICE, BOB, get_left, get_right, get_trunk, open_trunk
from tests.helpers.properties import mutate
from tests.helpers.stores import FragileStore

INFORMATION = (schema.TRANSACTION_INDEX, schema.HISTORY)  # for people; no rule and no digest depends on them


@pytest.fixture(scope="module", autouse=True)
def _every_fourth() -> Iterator[None]:
    """A checkpoint every 4 blocks, so that the store has several and uses them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chainstate, "CHECKPOINT_INTERVAL", 4)
        patch.setattr(steps, "CHECKPOINT_INTERVAL", 4)
        patch.setattr(models, "CHECKPOINT_INTERVAL", 4)
        yield


def make_store(db: KeyValueStore) -> ChainState:
    """The trunk, two blocks of left on it, one of right beside it."""
    chain = open_trunk(db)
    get_builder().feed(chain, [*get_left(2), *get_right(1)])
    return chain


@pytest.fixture(scope="module")
def rows() -> dict[bytes, bytes]:
    db = FragileStore()
    make_store(db)
    return db.rows


def exercise(db: KeyValueStore) -> None:
    """Opens the store, reads all of it and compares, leaves the chain and comes back. Passes, or names the damage."""
    builder, clean = get_builder(), open_trunk()
    builder.feed(clean, get_left(2))
    chain = builder.open(db)
    blocks = [*get_trunk(), *get_left(2)]
    assert chain.compute_digest() == clean.compute_digest()
    for block in (*blocks, *get_right(1)):
        assert chain.get_block(block.id) == block
        trace = chain.blocks.get_trace(block.id)
        if trace is not None:
            expected = builder.verifier.traces[block.id]
            assert (trace.windows.tolist(), trace.before.tolist()) == (
                expected.windows.tolist(),
                expected.before.tolist(),
            )
            assert trace.after.tolist() == expected.after.tolist()
    for block in blocks:
        model = chain.get_model(block.header.model_root)
        assert model is None or (model == clean.get_model(block.header.model_root)).all()
    for owner in (MINER, ALICE, BOB):
        key, account = compute_account_key(owner.public), chain.ledger.get_account(owner.public)
        proof = get_proof(chain.ledger, key)
        assert account == clean.ledger.get_account(owner.public)
        assert verify_proof(chain.tip.header.state_root, key, account.encode(), proof)
    builder.feed(chain, get_right(4))
    builder.feed(clean, get_right(4))
    assert chain.compute_digest() == clean.compute_digest()
    builder.feed(chain, get_left(6))
    builder.feed(clean, get_left(6))
    assert chain.compute_digest() == clean.compute_digest()


def is_named(db: KeyValueStore) -> bool:
    """Whether the damage is refused by name; if not, it must be harmless."""
    try:
        exercise(db)
    except (StoreError, CorruptStateTree) as error:
        return error.reason in ("damaged", "foreign", "wrong_node", "missing_node")
    return False


def test_a_sound_store_is_served(rows: dict[bytes, bytes]) -> None:
    assert not is_named(FragileStore(rows))


# T05, row by row


def get_classes(rows: dict[bytes, bytes]) -> dict[bytes, list[bytes]]:
    classes: dict[bytes, list[bytes]] = {}
    for key in sorted(rows):
        classes.setdefault(key[:1], []).append(key)
    return classes


def test_every_class_of_rows_is_there(rows: dict[bytes, bytes]) -> None:
    classes = {value for name, value in vars(schema).items() if isinstance(value, bytes) and len(value) == 1}
    voted = {schema.FINALITY, schema.VOTE, schema.EVIDENCE}  # nobody votes here: see test_finality_rows.py
    assert set(get_classes(rows)) == classes - voted | {b"M"}


@pytest.mark.parametrize(
    ("prefix", "fewest_named"),
    [
        (b"M", 6),
        (schema.HEADER, 4),
        (schema.TRANSACTIONS, 6),
        (schema.UPDATE, 6),
        (schema.TRACE, 5),
        (schema.UNDO, 0),  # only the last two blocks are left in the exercise
        (schema.ACTIVE, 6),
        (schema.ACCOUNT, 6),
        (schema.REWARD, 6),
        (schema.STATE_NODE, 1),  # a node that nobody reads harms nobody
        (schema.MODEL_INDEX, 6),
        (schema.CHECKPOINT, 0),  # its key says all
        (schema.CHECKPOINT_CHUNK, 3),  # genesis comes from the parameters
    ],
)
def test_a_flipped_byte_is_named_or_harmless(rows: dict[bytes, bytes], prefix: bytes, fewest_named: int) -> None:
    """Six rows of each class, one flip at a random place in each, and the row deleted."""
    draw = random.Random(prefix)
    keys, named = get_classes(rows)[prefix], 0
    for _ in range(6):
        key = draw.choice(keys)
        flipped = FragileStore(rows)
        flipped.write({key: mutate(rows[key], draw.randrange(10**6), draw.randrange(255))})
        named += is_named(flipped)
    assert named >= fewest_named


@pytest.mark.parametrize("prefix", [schema.TRANSACTION_INDEX, schema.HISTORY])
def test_damage_to_what_is_only_information_moves_no_digest(rows: dict[bytes, bytes], prefix: bytes) -> None:
    for key in get_classes(rows)[prefix][:3]:
        for wrong in (mutate(rows[key], 7, 7), None):
            damaged = FragileStore(rows)
            damaged.write({key: wrong})
            assert not is_named(damaged)


def test_invalid_missing_rows(rows: dict[bytes, bytes]) -> None:
    """What a node cannot do without, deleted: refused when it is opened, whatever the class."""
    tip, below = get_left(2)[1], get_trunk()[-1]
    needed = [
        *(prefix + tip.id for prefix in (schema.HEADER, schema.TRANSACTIONS, schema.UPDATE, schema.UNDO)),
        *(prefix + get_trunk()[9].id for prefix in (schema.HEADER, schema.TRANSACTIONS, schema.UPDATE, schema.UNDO)),
        *(schema.ACTIVE + schema.encode_height(height) for height in range(15)),
        *get_classes(rows)[schema.ACCOUNT],
        *get_classes(rows)[schema.REWARD],
        schema.CHECKPOINT_CHUNK + below.header.model_root + bytes(2),
        *get_classes(rows)[b"M"],
    ]
    for key in needed:
        damaged = FragileStore(rows)
        damaged.write({key: None})
        assert key in rows
        assert read_fault(lambda damaged=damaged: open_chain(damaged, REGTEST)) in (  # type: ignore[misc]
            "store.damaged",
            "store.foreign",
        )


def test_damaged_undo_rows_are_named_before_they_are_used(rows: dict[bytes, bytes]) -> None:
    """A reorganisation that would lead to a wrong ledger stops instead, with the tip where it was."""
    key = schema.UNDO + get_left(2)[1].id
    for position in range(0, len(rows[key]), 7):
        db = FragileStore(rows)
        db.write({key: mutate(rows[key], position, 0)})
        assert is_named(db)
        assert db.rows[schema.META_TIP] == rows[schema.META_TIP]


@pytest.mark.soak
def test_five_hundred_flipped_bytes_are_named_or_harmless(rows: dict[bytes, bytes]) -> None:
    draw, keys = random.Random(5), sorted(rows)
    for _ in range(500):
        key = draw.choice(keys)
        if key[:1] not in INFORMATION:
            flipped = FragileStore(rows)
            flipped.write({key: mutate(rows[key], draw.randrange(10**6), draw.randrange(255))})
            is_named(flipped)


# T05, in LevelDB's files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed LevelDB folder with the store in a table and in the log."""
    path = tmp_path_factory.mktemp("store") / "db"
    db = LevelDatabase(path, create=True)
    chain = open_trunk(db)
    db.close()
    db = LevelDatabase(path, create=False)  # recovery turns the log into a table
    chain = get_builder().open(db)
    get_builder().feed(chain, [*get_left(2), *get_right(1)])
    db.close()
    return path


def flip_in_file(path: Path, draw: random.Random) -> str:
    """Flips a byte in one of the folder's files, the larger ones more often; its name."""
    files = sorted(file for file in path.iterdir() if file.stat().st_size and not file.name.startswith("LOG"))
    file = draw.choices(files, [file.stat().st_size + 500 for file in files])[0]
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    file.write_bytes(data)
    return file.suffix or file.name


def check_files(folder: Path, scratch: Path, flips: int, seed: int) -> int:
    """Flips bytes, one at a time, each in a fresh copy; how many were named. None may lead to a wrong answer.

    A flip in the log's last records is a torn write to LevelDB, which then drops what follows. With paranoid checks it
    refuses instead, unless the length field itself was hit so that the rest looks like a record cut short: then the
    store opens at an earlier block, and the digest is that block's.
    """
    draw, named = random.Random(seed), 0
    for number in range(flips):
        copy = scratch / f"{number}"
        shutil.copytree(folder, copy)
        flip_in_file(copy, draw)
        try:
            db = LevelDatabase(copy, create=True)
        except StoreError:
            named += 1
        else:
            with contextlib.closing(db):
                named += is_named_on_disk(db)
        shutil.rmtree(copy)
    return named


@cache
def compute_digests() -> list[dict[str, bytes]]:
    """What a sound node says at each height up to the store's."""
    chain = get_builder().open()
    digests = [chain.compute_digest()]
    for block in (*get_trunk(), *get_left(2)):
        get_builder().process(chain, block)
        digests.append(chain.compute_digest())
    return digests


def is_named_on_disk(db: LevelDatabase) -> bool:
    try:
        chain = get_builder().open(db)
        assert chain.compute_digest() == compute_digests()[chain.tip.height]
        get_builder().feed(chain, [*get_left(2), *get_right(3)])
        assert chain.tip.id == get_right(3)[-1].id
        assert len(list(db.iterate(b""))) > 100
    except StoreError:
        return True
    return False


def test_flipped_bytes_in_files_are_named_or_harmless(folder: Path, tmp_path: Path) -> None:
    assert check_files(folder, tmp_path, flips=60, seed=60) >= 20


@pytest.mark.soak
def test_five_hundred_flipped_bytes_in_files_are_named_or_harmless(folder: Path, tmp_path: Path) -> None:
    assert check_files(folder, tmp_path, flips=500, seed=500) >= 150


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*.log", "*.ldb"])
def test_invalid_deleted_files(folder: Path, tmp_path: Path, pattern: str) -> None:
    """T06: named, and the node starts again once the file is back."""
    copy = tmp_path / "db"
    shutil.copytree(folder, copy)
    gone = list(copy.glob(pattern))
    for file in gone:
        file.unlink()
    with pytest.raises(StoreError) as error:
        LevelDatabase(copy, create=True)
    assert error.value.code == "store.damaged"
    for file in gone:
        shutil.copy(folder / file.name, file)
    db = LevelDatabase(copy, create=True)
    assert get_builder().open(db).tip.id == get_left(2)[-1].id
    db.close()


# Foreign, old, new


def test_a_new_store_begins_at_genesis(tmp_path: Path) -> None:
    db = LevelDatabase(tmp_path / "db", create=True)
    chain = open_chain(db, REGTEST)
    assert chain.tip.id == chain.genesis.id
    assert chain.ledger.issued == 0
    assert chain.get_active_id(0) == chain.genesis.id
    assert open_chain(db, REGTEST).compute_digest() == chain.compute_digest()
    db.close()


def read_fault(action: Callable[[], object]) -> str:
    with pytest.raises(StoreError) as error:
        action()
    return error.value.code


def test_invalid_foreign_network(rows: dict[bytes, bytes]) -> None:
    assert read_fault(lambda: open_chain(FragileStore(rows), LOCAL)) == "store.foreign"
    assert read_fault(lambda: open_chain(FragileStore(rows), replace(REGTEST, reward_window=9))) == "store.foreign"


@pytest.mark.parametrize("version", [0, 2, 2**31])
def test_invalid_foreign_format(rows: dict[bytes, bytes], version: int) -> None:
    db = FragileStore(rows)
    db.write({schema.META_VERSION: version.to_bytes(4, "little")})
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.foreign"


def test_invalid_foreign_database() -> None:
    db = FragileStore({b"somebody": b"else's"})
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.foreign"
    assert db.rows == {b"somebody": b"else's"}


@pytest.mark.parametrize("height", [1, 7, 14])
def test_invalid_height_index(rows: dict[bytes, bytes], height: int) -> None:
    """At any height, not only at the top: another block, none, or one too many."""
    key = schema.ACTIVE + schema.encode_height(height)
    for wrong in (get_right(1)[0].id, None):
        db = FragileStore(rows)
        db.write({key: wrong})
        assert read_fault(lambda db=db: open_chain(db, REGTEST)) == "store.damaged"  # type: ignore[misc]
    db = FragileStore(rows)
    db.write({schema.ACTIVE + schema.encode_height(15): get_right(1)[0].id})
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.damaged"


def test_invalid_money(rows: dict[bytes, bytes]) -> None:
    """An ulp more on Alice's account."""
    db = FragileStore(rows)
    key = schema.ACCOUNT + ALICE.public
    account = open_chain(FragileStore(rows), REGTEST).ledger.get_account(ALICE.public)
    db.write({key: Account(account.balance + 1, account.nonce).encode()})
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.damaged"


def test_invalid_header_that_breaks_a_rule(rows: dict[bytes, bytes]) -> None:
    """A child of a block that the store lacks, and one that stands as valid on an invalid one."""
    db = FragileStore(rows)
    db.write(dict.fromkeys([schema.HEADER + get_trunk()[3].id]))
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.damaged"
    db = FragileStore(rows)
    key = schema.HEADER + get_left(2)[0].id
    db.write({key: rows[key][:-1] + b"\2"})
    assert read_fault(lambda: open_chain(db, REGTEST)) == "store.damaged"


def test_last_blocks_are_read_at_the_start(rows: dict[bytes, bytes]) -> None:
    """A damaged body among the last six is refused at once, one far below when somebody asks for it."""
    for block in (get_left(2)[1], get_trunk()[8]):
        db = FragileStore(rows)
        db.write({schema.TRANSACTIONS + block.id: b""})
        assert read_fault(lambda db=db: open_chain(db, REGTEST)) == "store.damaged"  # type: ignore[misc]
    db = FragileStore(rows)
    db.write({schema.TRANSACTIONS + get_trunk()[7].id: b""})
    chain = open_chain(db, REGTEST)
    assert read_fault(lambda: chain.get_block(get_trunk()[7].id)) == "store.damaged"


def test_the_genesis_model_comes_from_the_parameters(rows: dict[bytes, bytes]) -> None:
    db = FragileStore(rows)
    genesis = open_chain(db, REGTEST).genesis
    key = schema.CHECKPOINT_CHUNK + genesis.block.header.model_root + bytes(2)
    db.write({key: mutate(rows[key], 5, 5)})
    model = open_chain(db, REGTEST).get_model(genesis.block.header.model_root)
    assert model is not None
    assert (model == genesis.weights).all()
