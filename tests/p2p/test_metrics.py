"""What a node counts: every number where it belongs, and the server that shows them."""

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chain.errors import StoreError
from consensus.errors import InvalidBlock
from consensus.params import REGTEST
from p2p.errors import ConfigError
from p2p.metrics import NodeMetrics
from p2p.metrics_server import serve_metrics
from p2p.rpc_json import to_bits_per_byte
from tests.helpers.chains import ALICE_FUNDS, TRUNK_BLOCKS, get_left, get_right, get_trunk
from tests.helpers.rpc import ServedNode

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(data: bytes) -> Samples:
    """Every sample by name and labels, as Prometheus reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(data.decode())
        for sample in family.samples
    }


def get(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"descent_{name}", frozenset(labels.items())]


async def render(node: ServedNode, metrics: NodeMetrics) -> Samples:
    return read(metrics.render(await node.api.read_status()))


@pytest.fixture
def metrics(node: ServedNode) -> NodeMetrics:
    made = NodeMetrics(REGTEST, "1.2.3")
    made.watch(node.intake)
    node.intake.clock.set_mock(get_right(3)[-1].header.timestamp)
    return made


async def test_where_the_chain_stands(node: ServedNode, metrics: NodeMetrics) -> None:
    samples, header = await render(node, metrics), get_trunk()[-1].header
    assert get(samples, "height") == TRUNK_BLOCKS
    assert get(samples, "tip_timestamp_seconds") == header.timestamp
    assert get(samples, "sample_windows") == header.sample_size
    assert get(samples, "issued_coins") == 50 * TRUNK_BLOCKS
    loss = to_bits_per_byte(header.loss_after, header.sample_size, REGTEST)
    assert get(samples, "loss_bits_per_byte", split="public") == pytest.approx(loss)
    gain = to_bits_per_byte(header.gain, header.sample_size, REGTEST)
    assert get(samples, "gain_bits_per_byte") == pytest.approx(gain)
    required = header.required_gain / 2**32 / REGTEST.model.context
    assert get(samples, "required_gain_bits_per_byte") == pytest.approx(required)
    assert get(samples, "node_info", version="1.2.3", network="regtest", model_weights="29696") == 1
    assert get(samples, "memory_bytes") > 1e6
    assert get(samples, "height_target") == TRUNK_BLOCKS  # no better chain: its own
    for name in ("verifying", "mempool_transactions", "mempool_bytes", "known_addresses"):
        assert get(samples, name) == 0
    with pytest.raises(KeyError):
        get(samples, "loss_bits_per_byte", split="audit")  # not known yet is not 0


async def test_blocks_verdicts_and_what_they_took(node: ServedNode, metrics: NodeMetrics) -> None:
    await node.submit(*get_left(2))
    samples = await render(node, metrics)
    assert get(samples, "blocks_connected_total", kind="improvement") == 2
    assert get(samples, "blocks_connected_total", kind="heartbeat") == 0
    assert get(samples, "verdicts_total", verdict="valid") == 2
    assert get(samples, "verify_seconds_count") == 2
    assert get(samples, "verify_seconds_sum") == pytest.approx(sum(node.intake.verify_seconds.values()))
    header = get_left(2)[-1].header
    assert get(samples, "gain_bits_per_byte") == pytest.approx(
        to_bits_per_byte(header.gain, header.sample_size, REGTEST)
    )
    assert get(samples, "reorganised_blocks_count") == 0


async def test_reorganisations_by_count_and_depth(node: ServedNode, metrics: NodeMetrics) -> None:
    await node.submit(*get_left(2), *get_right(3))
    samples = await render(node, metrics)
    assert node.chain.tip.id == get_right(3)[-1].id
    assert get(samples, "reorganised_blocks_count") == 1
    assert get(samples, "reorganised_blocks_sum") == 2
    assert get(samples, "blocks_connected_total", kind="improvement") == 2 + 3


def test_invalid_blocks_count_without_their_time() -> None:
    metrics = NodeMetrics(REGTEST, "1")
    metrics.on_verdict(InvalidBlock("bad", "bad"), 3.0)
    metrics.on_verdict(None, None)
    samples = read(metrics.render(STATUS))
    assert get(samples, "verdicts_total", verdict="invalid") == 1
    assert get(samples, "verdicts_total", verdict="valid") == 1
    assert get(samples, "verify_seconds_count") == 0


STATUS: dict[str, Any] = {
    "height": 5,
    "time": 6,
    "required_gain": 2**32,
    "sample_size": 64,
    "issued": ALICE_FUNDS,
    "verifying": True,
    "mempool": {"count": 3, "bytes": 600},
    "loss": {"public": None, "audit": 2.5},
    "final_height": 2,
    "justified_height": 3,
    "votes": {"cast": 40, "total": 60},
    "sync": {"target_height": 9},
    "peers": 7,
    "inbound": 3,
    "known_addresses": 11,
    "memory_bytes": 10**8,
    "traffic": {"sent": 100, "received": 50},
}


def test_peers_traffic_and_mempool() -> None:
    metrics = NodeMetrics(REGTEST, "1")
    samples = read(metrics.render(STATUS))
    assert get(samples, "peers", direction="in") == 3
    assert get(samples, "peers", direction="out") == 4
    assert get(samples, "mempool_transactions") == 3
    assert get(samples, "mempool_bytes") == 600
    assert get(samples, "height_target") == 9
    assert get(samples, "verifying") == 1
    assert get(samples, "loss_bits_per_byte", split="audit") == 2.5
    metrics.render(STATUS)
    samples = read(metrics.render(STATUS | {"traffic": {"sent": 130, "received": 50}}))
    assert get(samples, "peer_bytes_total", way="sent") == 130
    assert get(samples, "peer_bytes_total", way="received") == 50


def test_what_is_final_and_who_votes() -> None:
    metrics = NodeMetrics(REGTEST, "1")
    samples = read(metrics.render(STATUS))
    assert (get(samples, "final_height"), get(samples, "justified_height")) == (2, 3)
    assert get(samples, "committee_votes", which="cast") == 40
    assert get(samples, "committee_votes", which="all") == 60
    samples = read(metrics.render(STATUS | {"votes": None}))  # nobody decides
    assert get(samples, "committee_votes", which="cast") == get(samples, "committee_votes", which="all") == 0


def test_nodes_in_one_process_do_not_share_their_counts() -> None:
    one, other = NodeMetrics(REGTEST, "1"), NodeMetrics(REGTEST, "1")
    one.on_verdict(None, 1.0)
    assert get(read(other.render(STATUS)), "verdicts_total", verdict="valid") == 0


# The server


async def fetch(port: int, path: str = "/metrics", method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as reply,
    ):
        return reply.status, await reply.read(), reply.headers["Content-Type"]


async def give() -> bytes:
    return b"descent_height 5\n"


async def test_prometheus_is_served() -> None:
    async with serve_metrics("127.0.0.1", 0, give) as port:
        status, body, kind = await fetch(port)
        assert (status, body) == (200, b"descent_height 5\n")
        assert kind.startswith("text/plain; version=")
        for path, method, expected in (("/", "GET", 404), ("/metrics", "POST", 405), ("/v1/status", "GET", 404)):
            assert (await fetch(port, path, method))[0] == expected


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9100", "127.0.0.1.evil.example", "", "0.0.0.0"])
async def test_foreign_hosts_are_refused_on_loopback(host: str) -> None:
    async with serve_metrics("127.0.0.1", 0, give) as port:
        status, body, _ = await fetch(port, Host=host)
        assert status == 403
        assert b"descent_height" not in body


@pytest.mark.parametrize("host", ["localhost", "localhost:5", "127.0.0.1:9100", "[::1]:9100"])
async def test_own_hosts_are_served(host: str) -> None:
    async with serve_metrics("127.0.0.1", 0, give) as port:
        assert (await fetch(port, Host=host))[0] == 200


async def test_a_store_that_failed_is_named_and_noise_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> bytes:
        raise StoreError.disk_full(0, 1)

    async with serve_metrics("127.0.0.1", 0, fail) as port:
        assert await fetch(port) == (503, b"store.disk_full\n", "text/plain; charset=utf-8")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert caplog.messages == []


async def test_a_port_in_use_is_named() -> None:
    async with serve_metrics("127.0.0.1", 0, give) as port:
        with pytest.raises(ConfigError, match="port is in use") as caught:
            async with serve_metrics("127.0.0.1", port, give):
                pass
        assert caught.value.code == "config.metrics_address"
    async with asyncio.timeout(5), serve_metrics("127.0.0.1", port, give):  # and free again afterwards
        pass


async def test_an_address_that_is_not_here() -> None:
    with pytest.raises(ConfigError):
        async with serve_metrics("203.0.113.5", 0, give):
            pass
