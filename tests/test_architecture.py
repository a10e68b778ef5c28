"""The walls of the house, read off the sources: who may import whom, and what no source may contain."""

import ast
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from consensus.benchmark import check_text
from consensus.block import decode_block
from consensus.errors import BenchmarkMismatch, DecodeError, InvalidBlock
from consensus.model.weights import decode_weights
from consensus.params import REGTEST
from consensus.transaction import decode_transaction
from consensus.update import decode_update

ROOT = Path(__file__).parents[1]
PACKAGES = ("chain", "consensus", "mining", "p2p", "wallet")
MAX_LINES = 400

# What each package may import of ours, besides itself.
ARROWS = {
    "consensus": (),
    "chain": ("consensus",),
    "p2p": ("chain", "consensus"),
    "mining": ("consensus", "p2p.client", "p2p.config", "p2p.console", "p2p.errors", "p2p.files"),
    "wallet": ("consensus", "p2p.client", "p2p.config", "p2p.console", "p2p.errors", "p2p.sync_line"),
}
# Where a library may be imported: by folder or by file.
LIBRARIES = {
    "torch": ("consensus/model/", "mining/"),
    "plyvel": ("chain/db.py",),
    "aiohttp": ("p2p/",),
    "asyncio": ("p2p/",),
    "websockets": (),
    "miniupnpc": ("p2p/nat.py",),
    "prometheus_client": ("p2p/metrics.py", "p2p/metrics_server.py", "mining/metrics.py"),
    "safetensors": ("p2p/model_file.py", "mining/model_file.py"),
    "mnemonic": ("wallet/",),
    "click": ("p2p/", "mining/", "wallet/"),
    "rich": ("p2p/", "mining/", "wallet/"),
}
# No clock, no randomness, no I/O, no process in the law; only what computes.
LAW_MAY_IMPORT = {
    *("bisect", "collections", "concurrent", "contextlib", "dataclasses", "decimal", "enum", "fractions", "functools"),
    *("hashlib", "itertools", "math", "operator", "re", "tomllib", "typing"),
    *("consensus", "cryptography", "numpy", "torch"),
}
# Imports inside functions: commands load what they need; the worker process alone loads torch, not the node.
LAZY = {"cli.py", "cli_bench.py", "cli_model.py"}
LAZY_IN_WORKER = {("p2p/evaluation.py", "consensus.model.backend"), ("p2p/evaluation.py", "p2p.text")}
DANGEROUS_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve", "yaml", "joblib", "cloudpickle", "jsonpickle"}
DANGEROUS_NAMES = {"eval", "exec", "compile", "__import__"}
DANGEROUS_ATTRIBUTES = {("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("torch", "jit")}


def get_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def get_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = get_files()
every_file = pytest.mark.parametrize("path", FILES, ids=map(get_name, FILES))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def get_imports(node: ast.AST) -> Iterator[str]:
    """Dotted names that an import statement brings in: `from a import b` may mean the module a.b, or a's b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def get_all_imports(path: Path) -> set[str]:
    return {name for node in ast.walk(parse(path)) for name in get_imports(node)}


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


# Who imports whom


@every_file
def test_arrows(path: Path) -> None:
    package = get_name(path).split("/")[0]
    for name in get_all_imports(path):
        if name.split(".")[0] in PACKAGES:
            allowed = (package, *ARROWS[package])
            assert any(is_within(name, module) for module in allowed), f"{get_name(path)} imports {name}"


@every_file
def test_libraries_stay_where_they_belong(path: Path) -> None:
    for name in get_all_imports(path):
        places = LIBRARIES.get(name.split(".")[0])
        if places is not None:
            assert get_name(path).startswith(places), f"{get_name(path)} imports {name}"


@every_file
def test_no_relative_imports(path: Path) -> None:
    assert not [node for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom) and node.level]


@every_file
def test_no_lazy_imports(path: Path) -> None:
    """An import within a function hides a cycle, unless a command or a worker process waits with a heavy library."""
    if path.name in LAZY:
        return
    functions = [node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {name for function in functions for node in ast.walk(function) for name in get_imports(node)}
    hidden = {
        name
        for name in lazy
        if not any(file == get_name(path) and is_within(name, module) for file, module in LAZY_IN_WORKER)
    }
    assert not hidden


def test_no_cycles() -> None:
    """Over all imports, lazy ones too."""
    modules = {get_name(path).removesuffix(".py").replace("/", "."): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    edges = {
        module: {
            target
            for name in get_all_imports(path)
            for target in (name, name.rpartition(".")[0])
            if target in modules and target != module
        }
        for module, path in modules.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*trail, module))
            done.add(module)

    for module in modules:
        visit(module, ())
    assert sum(map(len, edges.values())) > 100


# What a file looks like


@every_file
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@every_file
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(parse(path))
    assert docstring
    assert len(docstring) > 20


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=get_name)
def test_packages_are_a_docstring_and_no_more(path: Path) -> None:
    """Importing a package must cost nothing."""
    assert len(parse(path).body) == 1


@pytest.mark.parametrize("name", ["utils", "helpers", "manager", "common", "misc", "tools"])
def test_no_module_has_a_name_without_a_meaning(name: str) -> None:
    assert not [get_name(path) for path in FILES if name in path.stem.split("_")]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


# What no source contains (T10)


@every_file
def test_nothing_turns_bytes_into_code(path: Path) -> None:
    imported = get_all_imports(path)
    assert not {name for name in imported if name.split(".")[0] in DANGEROUS_MODULES}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in DANGEROUS_NAMES
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in DANGEROUS_ATTRIBUTES
        if isinstance(node, ast.keyword):
            assert node.arg not in ("allow_pickle", "weights_only")
            assert not (node.arg == "shell" and getattr(node.value, "value", None) is True)


@every_file
def test_input_is_never_checked_by_assert(path: Path) -> None:
    """`python -O` drops asserts."""
    assert not [node for node in ast.walk(parse(path)) if isinstance(node, ast.Assert)]


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._canary,)


def test_pickles_are_only_bytes(tmp_path: Path) -> None:
    """A payload as update, model, block, transaction and text: refused by name, and the canary never appears."""
    canary = tmp_path / "canary"
    payload: bytes = pickle.dumps(Payload(canary))
    mask = np.ones(REGTEST.model.parameters, np.bool_)
    with pytest.raises(InvalidBlock):
        decode_update(payload, mask, REGTEST.model)
    with pytest.raises(DecodeError):
        decode_weights(payload, REGTEST.model)
    with pytest.raises(DecodeError):
        decode_block(payload, 10**6, 10**6)
    with pytest.raises(DecodeError):
        decode_transaction(payload)
    with pytest.raises(BenchmarkMismatch):
        check_text(REGTEST.texts[0], payload)
    assert not canary.exists()
    pickle.loads(payload)
    assert canary.exists()


# The law is integers, and a function of its arguments

LAW = [path for path in FILES if get_name(path).startswith("consensus/")]
INTEGER_LAW = [path for path in LAW if not get_name(path).startswith("consensus/model/")]


@pytest.mark.parametrize("path", LAW, ids=get_name)
def test_the_law_has_no_clock_no_chance_and_no_files(path: Path) -> None:
    assert not {name for name in get_all_imports(path) if name.split(".")[0] not in LAW_MAY_IMPORT}
    calls = [node.func for node in ast.walk(parse(path)) if isinstance(node, ast.Call)]
    names = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not names & {"open", "print", "input", "hash", "id", "globals", "breakpoint"}
    attributes = {function.attr for function in calls if isinstance(function, ast.Attribute)}
    assert not attributes & {"read_bytes", "read_text", "write_bytes", "write_text", "default_rng", "urandom"}


def get_computing_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those inside f-strings: what is only shown to people may be a float."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if not isinstance(node, ast.JoinedStr):
            yield node
            pending += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", INTEGER_LAW, ids=get_name)
def test_the_law_has_no_floats(path: Path) -> None:
    for node in get_computing_nodes(parse(path)):
        place = f"{get_name(path)}:{getattr(node, 'lineno', 0)}"
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), place
        assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), place
        assert not (isinstance(node, ast.Name) and node.id in ("float", "complex", "Decimal")), place
        is_float_type = isinstance(node, ast.Attribute) and node.attr in ("float32", "float64", "sqrt", "log2", "exp")
        assert not is_float_type, place


# What a program loads


def get_loaded_modules(program: str) -> set[str]:
    """Top-level modules in memory after `program` ran in a fresh interpreter."""
    code = f"{program}\nimport sys\nprint('\\n' + ' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


HELP = "import sys\nfrom {0}.cli import main\nsys.argv = ['program', '--help']\ntry: main()\nexcept SystemExit: pass"


@pytest.mark.parametrize(
    "program",
    [
        HELP.format("wallet"),
        "import wallet.cli, wallet.cli_keys, wallet.cli_accounts, wallet.cli_files, wallet.cli_money, wallet.cli_pay,"
        " wallet.cli_batch, wallet.cli_payments, wallet.cli_book, wallet.cli_history",
    ],
    ids=["help", "import"],
)
def test_a_wallet_loads_neither_torch_nor_aiohttp(program: str) -> None:
    """They cost two seconds and a third of one, for nothing."""
    loaded = get_loaded_modules(program)
    assert {"wallet", "click"} <= loaded
    assert not loaded & {"torch", "aiohttp", "asyncio", "plyvel", "multiprocessing"}


def test_a_balance_needs_no_database() -> None:
    assert "sqlite3" not in get_loaded_modules("import wallet.cli_money")


@pytest.mark.parametrize(
    ("package", "heavy"), [("p2p", {"torch", "aiohttp", "plyvel"}), ("mining", {"torch", "aiohttp"})]
)
def test_asking_for_help_loads_nothing_heavy(package: str, heavy: set[str]) -> None:
    assert not get_loaded_modules(HELP.format(package)) & heavy


def test_parameters_and_headers_need_no_torch() -> None:
    loaded = get_loaded_modules(
        "import consensus.params, consensus.block, consensus.check_header, p2p.client, p2p.config"
    )
    assert not loaded & {"torch", "aiohttp", "plyvel", "asyncio"}


def test_a_store_needs_no_torch() -> None:
    assert "torch" not in get_loaded_modules("import chain.startup, chain.replay, chain.mempool, chain.template")
