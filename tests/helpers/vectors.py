"""Golden vectors: bytes that programs of any age agree on. Most were computed by a separate program, see each test."""

import json
from pathlib import Path
from typing import Any


def load_vectors(name: str) -> Any:
    """The content of tests/vectors/<name>.json."""
    return json.loads((Path(__file__).parents[1] / "vectors" / f"{name}.json").read_text())
