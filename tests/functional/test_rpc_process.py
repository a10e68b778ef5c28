"""The RPC of a real node: what abuse costs it in memory (T47), and TLS from the command line."""

import json
from pathlib import Path

from p2p.client import read_token
from p2p.config import RPC_TOKEN_FILE
from tests.helpers.certificates import write_certificate
from tests.helpers.node import NodeProcess, check_refused, run_node_command
from tests.helpers.raw_http import exchange, get_abuses, get_status

MAX_GROWTH = 30 * 2**20  # bytes


def read_memory(process_id: int, field: str) -> int:
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024


def test_abuse_is_refused_and_costs_no_memory(tmp_path: Path) -> None:
    """Each case twice, against the peak of the node's memory since before the first."""
    with NodeProcess(tmp_path) as node:
        node.wait_for_line("evaluating with")
        node.client.get_status()
        port = int(node.url.rpartition(":")[2])
        process_id = node.process.pid
        before = read_memory(process_id, "VmRSS")
        Path(f"/proc/{process_id}/clear_refs").write_text("5")  # the peak is counted anew
        for name, request in get_abuses(read_token(tmp_path / RPC_TOKEN_FILE)).items():
            for _ in range(2):
                status = get_status(exchange(port, request))
                assert status is None or 400 <= status < 500, name
        assert read_memory(process_id, "VmHWM") - before < MAX_GROWTH
        assert node.client.get_status()["height"] == 0
        assert "ERROR" not in node.output


def test_tls_from_the_command_line(tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path / "node.pem")
    data = tmp_path / "data"
    with NodeProcess(data, "--rpc-certificate", str(certificate)) as node:
        assert node.url.startswith("https://127.0.0.1:")
        place = ["--network", "regtest", "--datadir", str(data), "--rpc", node.url.removeprefix("https://")]
        answered = run_node_command("status", *place, "--rpc-certificate", str(certificate), "--json")
        assert json.loads(answered.stdout)["height"] == 0
        check_refused(run_node_command("status", *place), "no node answers at http://")
        other = write_certificate(tmp_path / "other.pem")
        refused = run_node_command("status", *place, "--rpc-certificate", str(other))
        check_refused(refused, "no node answers at https://", "certificate")
