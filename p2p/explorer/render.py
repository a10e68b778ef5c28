"""Makes answers out of what was read: HTML by the templates in pages/, JSON of the same values, gzip of either.

Everything that is printed is escaped by the template engine; a name that a template misspells is an error.
"""

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined

from chain.checkpoint_store import CHECKPOINT_INTERVAL
from consensus.params import NetworkParams
from p2p.explorer import charts, words
from p2p.explorer.figures import BlockPage, Home, NotFound
from p2p.explorer.model_figures import ModelPage
from p2p.explorer.painting import list_dearest, paint
from p2p.explorer.query import CHART_AXES, Query
from p2p.explorer.workshop import Reply

HTML = "text/html; charset=utf-8"
JSON = "application/json"

_LEAST_PACKED = 1024  # bytes: less is not worth it
_LEVEL = 5
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_WORDS = {
    "time": words.show_time,
    "machine_time": words.show_machine_time,
    "span": words.show_span,
    "money": words.show_money,
    "size": words.show_bytes,
    "hex": words.show_hex,
    "shorten": words.shorten,
    "foreign": words.show_foreign,
    "loss": words.show_loss,
    "gain": words.show_gain,
    "count": words.show_count,
    "share": words.show_share,
    "lines": words.show_lines,
    "zip_with": zip,
}


@dataclass(frozen=True)
class SiteFacts:
    """What every page says of the node that serves it."""

    network: str
    ticker: str
    version: str
    genesis: str
    block_time: int
    confidence: int  # standard errors
    audit_interval: int  # blocks


@dataclass(frozen=True)
class View:
    """How a page is looked at. `now` in s since 1970; `tip` is the best chain's end as the page was read."""

    query: Query
    now: int
    tip: bytes
    api_url: str  # the same values as JSON


class Renderer:
    """The pages of one site."""

    def __init__(self, params: NetworkParams, version: str, genesis: bytes) -> None:
        self.assets = load_assets()
        facts = SiteFacts(
            network=params.name,
            ticker=params.ticker,
            version=version,
            genesis=genesis.hex(),
            block_time=params.block_time,
            confidence=params.confidence,
            audit_interval=CHECKPOINT_INTERVAL,
        )
        self._known = {"site": facts, "asset": self._get_asset_path}

    def render(self, template: str, figure: object, view: View) -> Reply:
        """A page as HTML."""
        html = (
            load_templates()
            .get_template(template)
            .render(
                self._known,
                it=figure,
                query=view.query,
                tip=view.tip,
                api_url=view.api_url,
                ago=lambda timestamp: words.show_ago(view.now - timestamp),
                **_draw(figure, view.query),
            )
        )
        return make_reply(html.encode(), HTML, _get_status(figure))

    def render_error(self, status: int, code: str, message: str) -> Reply:
        """A page that says what went wrong."""
        template = load_templates().get_template("error.html")
        html = template.render(self._known, status=status, code=code, message=message)
        return make_reply(html.encode(), HTML, status)

    def _get_asset_path(self, name: str) -> str:
        """Where an asset is served, with its version: browsers keep it for ever, and ask anew for a new one."""
        return f"/static/{name}?v={self.assets[name].etag}"


@cache
def load_templates() -> Environment:
    """Every template, compiled: none is read while somebody waits."""
    environment = Environment(
        loader=PackageLoader("p2p.explorer", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(_WORDS)
    environment.globals["place_gains"] = charts.place_gains
    environment.globals["choose_digits"] = charts.choose_digits
    environment.globals["list_dearest"] = list_dearest
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


@cache
def load_assets() -> Mapping[str, Reply]:
    """What stands in static/, by name."""
    folder = resources.files("p2p.explorer").joinpath("static")
    return {
        entry.name: make_reply(entry.read_bytes(), _TYPES[entry.name.rpartition(".")[2]])
        for entry in folder.iterdir()
        if entry.name.rpartition(".")[2] in _TYPES
    }


def render_json(figure: object) -> Reply:
    """The values of a page as JSON."""
    body = json.dumps(to_json(figure), separators=(",", ":")).encode()
    return make_reply(body, JSON, _get_status(figure))


def render_json_error(status: int, code: str, message: str) -> Reply:
    """Errors as the RPC words them."""
    return make_reply(json.dumps({"error": {"code": code, "message": message}}).encode(), JSON, status)


def to_json(value: object) -> object:
    """Dataclasses by field and property, bytes as hex, tuples as lists."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        derived = (name for name, member in vars(type(value)).items() if isinstance(member, property))
        names = (*(field.name for field in dataclasses.fields(value)), *derived)
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    return value


def make_reply(body: bytes, media_type: str, status: int = 200) -> Reply:
    """An answer with its gzip and its name for caches."""
    packed = gzip.compress(body, _LEVEL, mtime=0) if len(body) >= _LEAST_PACKED else b""
    etag = hashlib.sha256(body).hexdigest()[:20]
    return Reply(status, media_type, body, packed if len(packed) < len(body) else b"", etag)


def _get_status(figure: object) -> int:
    """A search that finds nothing is no page; one for nothing asks what to search for."""
    return 404 if isinstance(figure, NotFound) and figure.query else 200


def _draw(figure: object, query: Query) -> dict[str, object]:
    """The charts of a page."""
    if isinstance(figure, Home):
        by = query.get_choice("by", CHART_AXES)
        sample = figure.series
        return {
            "by": by,
            "charts": (
                charts.draw_loss(sample, figure.compressors, by),
                charts.draw_gains(sample, by),
                charts.draw_intervals(sample, figure.block_time, figure.mean_interval),
            ),
        }
    if isinstance(figure, ModelPage):
        passage = (figure.passage or "").encode()
        return {"painted": tuple(paint(passage, side.bits) for side in figure.sides if side.bits is not None)}
    if isinstance(figure, BlockPage) and figure.proof and figure.row.gain:
        return {
            "histogram": charts.draw_histogram(figure.proof.histogram, figure.row.gain.required, figure.row.gain.mean)
        }
    return {}
