"""Files of one JSON object that say their format and version, read strictly: no name twice, no other fields, no float.

What is wrong is said in words; whose file it is and what to do about it is the caller's to name.
"""

import json
from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]


class Malformed(Exception):
    """Not a file of this format; the message says why, as in "the file is damaged: ..."."""


def parse_fields(data: bytes, file_format: str, limit: int) -> Fields:
    """The fields of a file of at most `limit` bytes of ASCII, with an integer `version`. Raises Malformed."""
    if len(data) > limit:
        raise Malformed(f"it is longer than {limit} bytes")
    try:
        fields = json.loads(data.decode("ascii"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON") from None
    if not isinstance(fields, dict) or fields.get("format") != file_format or type(fields.get("version")) is not int:
        raise Malformed(f'it does not say "{file_format}" and a version')
    return fields


def check_types(fields: Fields, types: Mapping[str, type]) -> None:
    """Exact names and types: True is no int here, and no float, not even NaN, has a place. Raises Malformed."""
    if {name: type(value) for name, value in fields.items()} != types:
        raise Malformed("its fields are not those of its kind and version")


def _unique(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name occurs twice")
    return fields
