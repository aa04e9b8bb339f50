# What a developer types. Everything lives in .venv of this directory; nothing else is installed, except
# that `make test` and `make bench` may apt-install servers they need when run by root.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_REPEAT ?= 100
TIMES := --durations=0 --durations-min=1
BIN := .venv/bin

.PHONY: bench-streams image-wheels help demo test test-compiled compiled lint docs bench soak proto clean modules

help:
	@echo "make demo   relay, sample agent and gateway on this machine, with curl lines to try"
	@echo "make test   all tests (PYTEST_ARGS='-k name' chooses)"
	@echo "make compiled       build/compiled: the package with its hot path compiled by mypyc"
	@echo "make test-compiled  the tests of what is compiled, with the compiled package"
	@echo "make lint   style, types, and that the documents render"
	@echo "make docs   these documents as HTML, in build/docs/html"
	@echo "make bench  requests per second beside other proxies (BENCH_ARGS='--seconds 3')"
	@echo "make bench-streams  a large download, events on 500 streams, idle WebSockets"
	@echo "make soak   slow clients, h2spec, drains and restarts under load, and each streaming test 100 times (SOAK_REPEAT=10): twenty minutes; then an hour of fuzzing (PORTAL_GATEWAY_FUZZ_SECONDS=10)"
	@echo "make image-wheels  what the image installs has wheels for both architectures, and its size"
	@echo "make modules  write again what stands in docs/ and is made from the code"
	@echo "make proto  generate the protobuf code again"
	@echo "make clean  remove what was built (.venv stays)"

demo: .venv/.demo-installed
	$(BIN)/portal-gateway demo

# Most tests with real servers wait for them. TESTERS=0 runs all tests one after the other in one process.
TESTERS ?= 3
IN_PARALLEL = -n $(TESTERS) --dist loadfile

# The repository's root is on PYTHONPATH because twistd does not find the plugin of an editable install.
test: .venv/.dev-installed
	tests/install-servers.sh
	PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -rs $(IN_PARALLEL) $(PYTEST_ARGS)

# What is compiled must behave like what is not. The whole path is in these directories.
test-compiled: compiled
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) $(BIN)/python -m pytest -rs $(IN_PARALLEL) -o pythonpath="build/compiled ." \
		tests/test_compiled.py tests/features tests/frontend tests/hostile tests/observe tests/policy tests/relay tests/wire \
		tests/integration/test_interop.py tests/integration/test_openai_client.py $(PYTEST_ARGS)

compiled: build/compiled/.built

# Modules that are gone must not come along from an earlier build.
build/compiled/.built: .venv/.dev-installed setup.py setup.cfg pyproject.toml $(shell find src twisted -name '*.py')
	rm -rf build/compiled build/lib* build/temp* build/bdist*
	PORTAL_GATEWAY_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --target build/compiled .
	@touch $@

lint: .venv/.dev-installed docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v go >/dev/null; then cd tests/interop && go vet ./... && go vet -modfile=portal-1.2.0.mod ./...; \
	else echo "left out: go vet of tests/interop (there is no Go here)"; fi

# What is read where it lies, by a reader that knows no Sphinx, and then the pages. A warning ends it.
docs: .venv/.dev-installed
	@for page in *.rst systemd/*.rst deploy/*.rst; do \
		$(BIN)/python -m docutils --strict --syntax-highlight=none "$$page" /dev/null || exit 1; \
	done
	$(BIN)/python -m sphinx -q -E -a -W --keep-going -n -b html -d build/docs/doctrees docs build/docs/html
	@echo "documents: all render; open build/docs/html/index.html"

bench: compiled
	benchmarks/install-servers.sh
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) $(BIN)/python -m benchmarks.run $(BENCH_ARGS)

# A large download over the relay, events on many streams, and what idle WebSockets hold.
bench-streams: compiled
	benchmarks/install-servers.sh
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) $(BIN)/python -m benchmarks.bulk
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) $(BIN)/python -m benchmarks.sse_fanout
	PYTHONPATH=$(CURDIR)/build/compiled:$(CURDIR) $(BIN)/python benchmarks/websocket_memory.py 2000

# Not a part of `make test`: it takes minutes, and the machine for itself.
soak: .venv/.dev-installed
	tests/soak/install-tools.sh
	PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -s $(TIMES) tests/soak/soak_slow_clients.py \
		tests/soak/soak_slow_streams.py tests/soak/soak_h2spec.py tests/soak/soak_metrics.py \
		tests/soak/soak_drain.py tests/soak/soak_log_outputs.py
	PORTAL_GATEWAY_RESTARTS=20 PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -s $(TIMES) tests/integration/test_restarts.py
	PORTAL_GATEWAY_RELOADS=200 PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -s $(TIMES) tests/integration/test_reload_under_load.py
	PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest $(TIMES) -p tests.soak.repeating --repeat $(SOAK_REPEAT) \
		tests/frontend/test_streams.py tests/relay/test_http_client_streams.py \
		tests/integration/test_openai_client.py
	PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -s $(TIMES) tests/soak/soak_abuse.py
	PYTHONPATH=$(CURDIR) $(BIN)/python -m pytest -s $(TIMES) tests/soak/soak_fuzz.py

# What the image installs, for both architectures, and how large it is there.
image-wheels: .venv/.dev-installed
	$(BIN)/python deploy/image/wheels.py

modules: .venv/.dev-installed
	$(BIN)/python docs/list_modules.py > docs/modules.rst
	$(BIN)/python docs/list_metrics.py > docs/metrics.rst
	$(BIN)/python docs/list_settings.py > docs/settings.rst
	$(BIN)/python docs/list_commands.py > docs/commands.rst
	$(BIN)/python docs/list_errors.py

# The versions and why they are pinned stand in portal.proto.
proto:
	test -d build/protoc || $(PYTHON) -m venv build/protoc
	build/protoc/bin/pip install --quiet grpcio-tools==1.76.0 mypy-protobuf==3.7.0
	PATH=build/protoc/bin:$$PATH build/protoc/bin/python -m grpc_tools.protoc -I src --python_out=src \
		--mypy_out=quiet:src src/portal_gateway/wire/portal.proto

clean:
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .hypothesis _trial_temp* tests/interop/bin tests/pebble/bin tests/deploy/bin tests/soak/bin \
		benchmarks/results
	find src tests twisted benchmarks -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed (PYTHON=python3.12 make … chooses one)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qy python3-venv; } || \
		{ echo "Python's venv module is needed (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo-installed: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.dev-installed: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ .venv/.demo-installed
