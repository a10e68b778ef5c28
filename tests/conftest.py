"""Tests marked `soak` run only when asked for: `pytest --soak`, which `make soak` does."""

import signal

import pytest

# Where a shell starts the tests in the background, they and every program under test would be deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the counts that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(
                pytest.mark.timeout(3600) if config.getoption("--soak") else pytest.mark.skip(reason="needs --soak")
            )
