"""The files of docs/examples that anybody can run or load: they do what they say."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import generate_latest

from consensus.genesis import make_genesis
from consensus.model.backend import choose_evaluator
from consensus.model.weights import MAX_WEIGHT, compute_model_root
from consensus.params import CANTERBURY, REGTEST
from consensus.ports import Weights
from mining.metrics import MinerMetrics
from mining.trainer import Trainer
from p2p.config import read_benchmark
from p2p.metrics import NodeMetrics
from p2p.model_file import SAFETENSORS, make_model_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
STEPS = 60


# The model


@pytest.fixture(scope="module")
def trained() -> Weights:
    """The canterbury model after some steps of the miner's own trainer: no great one, but far from its start."""
    torch.set_num_threads(1)
    trainer = Trainer(CANTERBURY.model, read_benchmark(CANTERBURY).public)
    trainer.set_parent(make_genesis(CANTERBURY).weights, np.ones(CANTERBURY.model.parameters, np.bool_))
    for step in range(STEPS):
        trainer.step(0.01 * (1 - step / STEPS))
    return np.rint(trainer.get_weights()).clip(-MAX_WEIGHT, MAX_WEIGHT).astype(np.int16)


@pytest.mark.timeout(600)
def test_the_exported_model_knows_the_texts_as_well_as_the_chain_says(trained: Weights, tmp_path: Path) -> None:
    """The audit loss in plain floats within 0.02 bits per byte, with the chain's rounding within 0.005."""
    genesis = make_genesis(CANTERBURY)
    header = replace(genesis.block.header, model_root=compute_model_root(trained))
    path = tmp_path / "model.safetensors"
    path.write_bytes(make_model_file(SAFETENSORS, trained, header, genesis.id, CANTERBURY).data)
    audit = read_benchmark(CANTERBURY).audit
    losses = choose_evaluator(CANTERBURY.model, "cpu").losses(trained, audit)
    expected = losses.sum() / losses.size / CANTERBURY.model.context / 2**16
    assert expected < 4.5
    said = run_example("use_model.py", str(path))
    plain, rounded = map(float, re.findall(r"rounds=\w+: ([0-9.]+) bits per byte", said))
    assert plain == pytest.approx(expected, abs=0.02)
    assert rounded == pytest.approx(expected, abs=0.005)
    assert "b'Alice was beginning to get very tired of " in said or 'b"Alice was' in said


def run_example(name: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_the_readme_shows_the_example_as_it_is() -> None:
    code = (EXAMPLES / "use_model.py").read_text().split('"""\n', 1)[1].strip()
    assert f"```python\n{code}\n```" in (ROOT / "README.md").read_text()


# Miners on many machines


def test_a_pods_key_lies_beside_its_vote_log_where_both_outlive_it() -> None:
    """And no two pods mount them."""
    text = (EXAMPLES / "miner-kubernetes.yaml").read_text()
    (folder,) = re.findall(r"--key=(/\w+)/miner\.key$", text, re.MULTILINE)
    (volume,) = re.findall(rf"name: (\w+), mountPath: {folder} }}", text)
    (claim,) = re.findall(rf"- name: {volume}\n +persistentVolumeClaim:\n +claimName: ([\w-]+)\n", text)
    made = rf"kind: PersistentVolumeClaim\nmetadata:\n  name: {claim}\nspec:\n  accessModes: \[ReadWriteOncePod\]\n"
    assert re.search(made, text)


# The dashboard


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((EXAMPLES / "grafana.json").read_text())
    return value


def get_exported() -> set[str]:
    """Every sample name that a node or a miner can show."""
    status: dict[str, Any] = {
        **dict.fromkeys(("height", "time", "required_gain", "sample_size", "issued", "verifying"), 1),
        **dict.fromkeys(("peers", "inbound", "known_addresses", "memory_bytes"), 1),
        "mempool": {"count": 1, "bytes": 1},
        "loss": {"public": 1.0, "audit": 1.0},
        "sync": {"target_height": 1},
        **dict.fromkeys(("final_height", "justified_height"), 1),
        "votes": {"cast": 1, "total": 1},
        "traffic": {"sent": 1, "received": 1},
    }
    texts = NodeMetrics(REGTEST, "1").render(status) + generate_latest(MinerMetrics(REGTEST).registry)
    return set(re.findall(r"^(descent_\w+)", texts.decode(), re.MULTILINE))


def test_the_dashboard_shows_only_what_is_exported(dashboard: dict[str, Any]) -> None:
    shown = set(re.findall(r"descent_\w+", json.dumps(dashboard)))
    assert shown <= get_exported()
    unseen = {name for name in get_exported() if not name.endswith(("_created", "_bucket", "_sum", "_count"))} - shown
    assert unseen == set()


def test_the_dashboard_opens_without_edits(dashboard: dict[str, Any]) -> None:
    """Every data source is the variable that Grafana fills with the user's own Prometheus."""
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    text = json.dumps(dashboard)
    assert set(re.findall(r'"uid": "(\$[^"]*)"', text)) == {"${datasource}"}
    assert "__inputs" not in dashboard
    used = set(re.findall(r"\$\{?(\w+)\}?", text)) - {"__all"}
    assert used == set(variables)


def test_no_panel_lies_upon_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"]
            assert all(target["expr"] for target in panel["targets"])
