# `make` alone lists the targets. Each sets up what it needs in .venv and build/, does nothing twice, and builds the
# wheel again only when its sources have changed. What runs is the installed wheel, never the source tree.
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 2
# More arguments for pytest or the benchmark: make test ARGS="-k logsumexp".
ARGS ?=
# ON: a compiler warning fails the build.
WERROR ?= OFF
# What `make bench` installs as PyTorch, for instance torch==2.13.0 or the address of a wheel.
BENCH_TORCH ?= torch

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -q --disable-pip-version-check
# The wheel is built in .venv itself, so that the compiler runs only for the files that changed. `make dist` builds it
# once more in isolation, from what pyproject.toml asks for.
BUILD_TOOLS := "scikit-build-core>=0.10" "numpy>=2.0" "cmake>=3.18" ninja build
WHEEL := $(PIP) wheel . --no-deps --no-build-isolation
NATIVE := $(shell find src/native tests/native -name '*.[ch]pp')
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE $(shell find src -not -name '__pycache__' -not -name '*.pyc')
# BLAS threads spin while they wait, which starves the other test process: the learner's tests take 26 s with one BLAS
# thread each, 198 s with two. SciPy's switch lets scikit-learn's checks of array libraries run.
PYTEST := SCIPY_ARRAY_API=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest

# OpenBLAS is to choose its kernels itself, whatever the shell has pinned.
BENCH := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python

.PHONY: help demo test peers lint format docs-check sanitize tsan kernels bench dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.extra-cli ## train on handwritten digits, predict and explain; files land in demo/
	@mkdir -p demo
	@cd demo && $(CURDIR)/$(BIN)/softmax demo
	@echo "== the files are in demo/, the command is $(BIN)/softmax"

test: $(VENV)/.extra-test ## run the tests, the docstrings' examples and the documentation
	$(PYTEST) -n $(JOBS) $(ARGS)

# PyTorch's and optax's run too once they are installed; `make bench` installs PyTorch.
peers: $(VENV)/.extra-peers ## run SciPy's, ONNX's and PyTorch's own tests on ours, and compare with Keras, optax, scikit-learn
	$(BIN)/python -m pytest -p suites.scipy_plugin suites --pyargs scipy.special.tests.test_logsumexp $(ARGS)

lint: $(VENV)/.extra-all $(VENV)/.extra-lint ## check style and types, Python and C++
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

format: $(VENV)/.extra-lint ## format all sources in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(NATIVE)

docs-check: $(VENV)/.extra-test ## run every example of README.md, docs/ and the docstrings as typed
	$(PYTEST) tests/test_docs.py $(ARGS)

sanitize: $(VENV)/.extra-test build/sanitize/.installed ## run the tests under AddressSanitizer and UBSan (Linux, GCC)
	@rm -f build/sanitize/report.*
	LD_PRELOAD="$(foreach lib,libasan.so libubsan.so libstdc++.so.6,$$(g++ -print-file-name=$(lib)))" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$(CURDIR)/build/sanitize/report \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc PYTHONPATH=$(CURDIR)/build/sanitize/site \
	SOFTMAX_TEST_VOLUME=0.1 $(PYTEST) --capture=sys -n $(JOBS) $(ARGS); \
	status=$$?; cat build/sanitize/report.* 2> /dev/null && exit 1; exit $$status

# What is built with the sanitizer is watched; Python and NumPy are not, but for their locks.
tsan: $(VENV)/.extra-test build/tsan/.installed ## run the tests of threads under ThreadSanitizer (Linux, GCC)
	@rm -f build/tsan/report.*
	LD_PRELOAD="$(foreach lib,libtsan.so libstdc++.so.6,$$(g++ -print-file-name=$(lib)))" \
	TSAN_OPTIONS=die_after_fork=0:report_signal_unsafe=0:log_path=$(CURDIR)/build/tsan/report \
	PYTHONPATH=$(CURDIR)/build/tsan/site SOFTMAX_TEST_VOLUME=0.1 \
	$(PYTEST) --capture=sys -n $(JOBS) tests/test_threads.py tests/test_determinism.py -k "thread or fork or call" $(ARGS); \
	status=$$?; cat build/tsan/report.* 2> /dev/null && exit 1; exit $$status

kernels: $(VENV)/.extra-test ## check the kernels' NEON body under QEMU and the one without vectors (Linux)
	$(PYTEST) tests/native/check_kernels.py $(ARGS)

bench: $(VENV)/.extra-bench ## measure speed, accuracy and memory beside the peers, and the goals; with ARGS, bench_softmax.py alone
	@for part in $(if $(ARGS),,import memory neighbour linear learn texts calibration accuracy); do $(BENCH) benchmarks/bench_$$part.py || exit 1; done
	$(BENCH) benchmarks/bench_softmax.py $(ARGS)

dist: build/.wheel ## build the sdist and the wheel into dist/ and check what they hold
	rm -rf dist
	$(BIN)/python -m build > build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	$(BIN)/python tools/check_dist.py dist build/wheel

clean: ## remove everything that the other targets made
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.ready: Makefile
	@echo "== set up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip
	@$(PIP) install $(BUILD_TOOLS)
	@touch $@

build/.wheel: $(SOURCES) | $(VENV)/.ready
	@echo "== build the wheel"
	@rm -rf build/wheel
	@$(WHEEL) -w build/wheel -C build-dir=build/cmake -C cmake.define.CMAKE_COMPILE_WARNING_AS_ERROR=$(WERROR)
	@touch $@

$(VENV)/.installed: build/.wheel
	@$(PIP) install --force-reinstall --no-deps build/wheel/*.whl
	@touch $@

# What an extra needs, once for each pyproject.toml; the wheel itself is installed above.
$(VENV)/.extra-%: pyproject.toml | $(VENV)/.installed
	@echo "== install what softmax[$*] needs"
	@$(PIP) install "$$(echo build/wheel/*.whl)[$*]" $(if $(filter bench,$*),"$(BENCH_TORCH)")
	@touch $@

build/sanitize/.installed: SANITIZERS := address,undefined
build/tsan/.installed: SANITIZERS := thread
build/%/.installed: $(SOURCES) | $(VENV)/.ready
	@echo "== build with -fsanitize=$(SANITIZERS)"
	@rm -rf build/$*/wheel build/$*/site
	@CXX=g++ $(WHEEL) -w build/$*/wheel -C build-dir=build/$*/cmake -C install.strip=false \
		-C cmake.define.SOFTMAX_SANITIZE=$(SANITIZERS) -C cmake.define.CMAKE_COMPILE_WARNING_AS_ERROR=ON
	@$(PIP) install --no-deps --target build/$*/site build/$*/wheel/*.whl
	@touch $@
