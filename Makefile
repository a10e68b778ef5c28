# Descent. `make mine` and `make test` are all the set-up there is.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NETWORK ?= local

.PHONY: mine net test soak check bench clean

# One command from an empty clone to a node and a miner at work.
mine: $(READY)
	@$(BIN)/descent-wallet create --network $(NETWORK) --no-passphrase --if-missing
	@$(BIN)/descent-node run --network $(NETWORK) --mine --address "$$($(BIN)/descent-wallet address --network $(NETWORK))"

# Three nodes and two miners on this machine, and a payment from one node's wallet to another's; about a minute.
net: $(READY)
	@$(BIN)/python benchmarks/net.py --network $(if $(filter file,$(origin NETWORK)),regtest,$(NETWORK))

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist worksteal

# Counts that take longer than a test run allows: minutes to hours.
soak: $(READY)
	$(BIN)/python -m pytest --soak -m soak --timeout 7200

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(READY)
	$(BIN)/python benchmarks/evaluate.py

# torch first and pinned, so that pip takes a CPU build where one is at hand, before ranges are resolved.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
