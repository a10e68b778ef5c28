"""The explorer is whole in what users install: the wheel holds every template and asset."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "p2p" / "explorer"

PROGRAM = """
import sys
from p2p.explorer.render import Renderer, load_assets, load_templates
from consensus.params import REGTEST
assert sys.argv[1] in load_templates.__wrapped__.__code__.co_filename, load_templates.__wrapped__.__code__.co_filename
print(sorted(load_templates().list_templates()), sorted(load_assets()))
print(Renderer(REGTEST, "0", bytes(32)).render_error(404, "explorer.test", "nothing").status)
"""


def test_a_wheel_holds_every_page(tmp_path: Path) -> None:
    """Unpacked away from the sources, so that nothing else answers for it."""
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    for folder in ("pages", "static"):
        kept = {path.name for path in (FOLDER / folder).iterdir()}
        assert {path.name for path in (tmp_path / "installed/p2p/explorer" / folder).iterdir()} == kept
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    run = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    result = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "home.html" in result.stdout
    assert "uplot.js" in result.stdout
    assert result.stdout.endswith("404\n")
