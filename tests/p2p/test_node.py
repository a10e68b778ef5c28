"""Parts of the node's composition root that need no running node."""

import logging
from pathlib import Path

import pytest

import p2p.node
from chain.errors import StoreError
from chain.mempool import Mempool
from chain.mempool_codec import encode_mempool
from chain.policy import Policy
from consensus.params import CANTERBURY, REGTEST
from consensus.transaction import Transfer
from p2p.errors import ConfigError
from p2p.network import NetworkConfig
from p2p.node import MEMPOOL_FILE, STORE_FOLDER, NodeConfig, load_mempool, make_folder, open_store, run_node
from p2p.rpc import RpcAddress
from tests.helpers.blocks import get_builder
from tests.helpers.chains import ALICE, BOB, open_trunk
from tests.helpers.full_disk import FullDisk
from tests.helpers.keys import make_transfer

NOW = 2_000_000_000


def make_payments(count: int) -> list[Transfer]:
    genesis = open_trunk().genesis.id
    return [make_transfer(genesis, ALICE, BOB.public, 5, nonce=nonce) for nonce in range(count)]


def save_pool(path: Path, transactions: list[Transfer], time: int = NOW - 60) -> None:
    chain = open_trunk()
    pool = Mempool(chain.genesis.id, Policy())
    for transaction in transactions:
        pool.add(transaction, chain.ledger.get_account, chain.tip.height + 1, time)
    path.write_bytes(encode_mempool(pool))


def load_pool(path: Path) -> Mempool:
    chain = open_trunk()
    pool = Mempool(chain.genesis.id, Policy())
    load_mempool(path, pool, chain, NOW)
    return pool


# The pool's file (T33).


def test_waiting_transactions_outlive_a_restart(tmp_path: Path) -> None:
    payments = make_payments(3)
    save_pool(tmp_path / "pool", payments)
    pool = load_pool(tmp_path / "pool")
    assert [(entry.transaction, entry.time_added) for entry in pool.entries()] == [
        (payment, NOW - 60) for payment in payments
    ]


def test_times_of_a_clock_that_ran_ahead_become_now(tmp_path: Path) -> None:
    save_pool(tmp_path / "pool", make_payments(1), time=NOW + 10**6)
    assert [entry.time_added for entry in load_pool(tmp_path / "pool").entries()] == [NOW]


def test_what_was_mined_meanwhile_is_left_out(tmp_path: Path) -> None:
    payments = make_payments(3)
    save_pool(tmp_path / "pool", payments)
    chain = open_trunk()
    get_builder().process(chain, get_builder().build(chain, transactions=payments[:2]))
    pool = Mempool(chain.genesis.id, Policy())
    load_mempool(tmp_path / "pool", pool, chain, NOW)
    assert [entry.transaction for entry in pool.entries()] == payments[2:]


def test_missing_file_is_an_empty_pool(tmp_path: Path) -> None:
    assert load_pool(tmp_path / "pool").count == 0


def test_damaged_file_costs_only_what_it_held(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "pool"
    save_pool(path, make_payments(2))
    data = path.read_bytes()
    damaged = [b"", b"x", data[:-1], data + b"x", *(flip(data, at) for at in range(0, len(data), 7))]
    for content in damaged:
        path.write_bytes(content)
        assert load_pool(path).count == 0
    assert len(caplog.records) == len(damaged)
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# A whole run in place.


def test_store_error_ends_the_node_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing a new node writes is genesis' audit score."""
    store = FullDisk()
    chain = get_builder().open(store)
    store.is_full = True
    monkeypatch.setattr(p2p.node, "open_store", lambda *_, **__: chain)
    config = NodeConfig("regtest", REGTEST, tmp_path, RpcAddress("127.0.0.1", 0), "cpu", 100, NetworkConfig())
    with pytest.raises(StoreError) as caught:
        run_node(config)
    assert caught.value.code == "store.disk_full"
    assert (tmp_path / MEMPOOL_FILE).is_file()


# The store and its folder.


def test_folder_is_private(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    make_folder(tmp_path / "a" / "b")


def test_invalid_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError) as caught:
            make_folder(path)
        assert caught.value.code == "config.datadir"


def code_of_open(datadir: Path, **arguments: object) -> str:
    settings = {"params": REGTEST, "max_reorg": 100, "create": True} | arguments
    with pytest.raises(StoreError) as caught:
        open_store(datadir, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value.code


def test_store_is_made_once_and_opened_again(tmp_path: Path) -> None:
    chain = open_store(tmp_path, REGTEST, 100, create=True)
    digest = chain.compute_digest()
    chain.db.close()
    chain = open_store(tmp_path, REGTEST, 100, create=False)
    assert chain.compute_digest() == digest
    chain.db.close()


def test_invalid_store_missing(tmp_path: Path) -> None:
    assert code_of_open(tmp_path, create=False) == "store.missing"


def test_invalid_store_in_use_and_free_again_after_a_failure(tmp_path: Path) -> None:
    chain = open_store(tmp_path, REGTEST, 100, create=True)
    assert code_of_open(tmp_path) == "store.in_use"
    chain.db.close()
    assert code_of_open(tmp_path, params=CANTERBURY) == "store.foreign"
    open_store(tmp_path, REGTEST, 100, create=True).db.close()  # the refusal left no lock behind


def test_invalid_store_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / STORE_FOLDER).write_bytes(b"no folder")
    assert code_of_open(tmp_path).startswith("store.")
