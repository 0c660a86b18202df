# Every target works alone on a fresh clone with Python 3.11 and a package index; `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_VENV := .wavecast/bench-venv
REGISTRY ?= localhost
TAG ?= $(shell git describe --always --dirty --tags)
COMPONENTS := xgboost lstm transformer wavelet router optimization
HELM ?= $(BIN)/helm
CHART := helm/wavecast
CHART_APIS := $(addprefix --api-versions ,serving.kserve.io/v1beta1/InferenceService \
	serving.kserve.io/v1alpha1/ServingRuntime gateway.networking.k8s.io/v1/HTTPRoute \
	gateway.networking.k8s.io/v1/GRPCRoute monitoring.coreos.com/v1/PodMonitor)
BUDGET := 20m

.DEFAULT_GOAL := help
.PHONY: help install demo optimise test check generate bench images e2e format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Set up the environment in .venv

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: $(PYTHON) is not Python 3.11; name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## From real bars to a served forecast and a short backtest, in a few minutes
	@$(BIN)/wavecast demo

optimise: $(INSTALLED) ## Tune, train, compress, gate and publish on real bars within BUDGET=20m, and report it
	@test -f .wavecast/bars.csv || { mkdir -p .wavecast && $(BIN)/wavecast data demo --out .wavecast/bars.csv; }
	@$(BIN)/wavecast optimise --data .wavecast/bars.csv --budget $(BUDGET)

# The version that the rendered manifests are compared with; HELM=helm takes your own.
$(BIN)/helm: helm/fetch.py | $(INSTALLED)
	@echo "fetching helm"
	@$(BIN)/python helm/fetch.py $@

test: $(INSTALLED) $(HELM) ## Run the tests
	@$(BIN)/python -m pytest -n auto --dist loadgroup

check: $(INSTALLED) $(HELM) ## Everything CI checks besides the tests: lint, types, imports, dependencies, chart
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .
	@$(BIN)/hadolint predictors/Dockerfile
	@for values in $(CHART)/ci/*-values.yaml; do \
		$(HELM) lint --strict --quiet $(CHART) --values $$values 2>&1 | grep -v 'funcMap fail' || true; \
		$(HELM) lint --strict --quiet $(CHART) --values $$values >/dev/null 2>&1 || exit 1; \
	done
	@$(BIN)/python -m pytest -q tests/helm/test_schemas.py

generate: $(INSTALLED) $(HELM) ## Make again what is committed and made from something else
	@$(BIN)/python -m optimization.rollout.schema
	@rm -f manifests/rendered/*.yaml
	@for values in $(CHART)/ci/*-values.yaml; do \
		$(HELM) template wavecast $(CHART) --namespace wavecast $(CHART_APIS) --values $$values \
			> manifests/rendered/$$(basename $$values -values.yaml).yaml || exit 1; \
	done

bench: $(INSTALLED) $(BENCH_VENV)/.installed ## Compare the servers with KServe, MLServer and FastAPI; writes docs/performance.md
	@test -d .wavecast/store/releases || $(BIN)/wavecast demo
	@PYTHONPATH=tests $(BIN)/python -m bench .wavecast/store $(BENCH_VENV) docs

# MLServer cannot share an environment with KServe; its parallel workers need an older uvloop.
$(BENCH_VENV)/.installed:
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		mlserver==1.7.1 'uvloop<0.22' "$$($(BIN)/python -m pip freeze | grep ^onnxruntime==)"
	@touch $@

images: ## Build the images REGISTRY/wavecast-*:TAG with buildah, docker or podman
	@predictors/images.sh $(REGISTRY) $(TAG) $(COMPONENTS)

# On the cluster of the current kubeconfig, or on one that E2E_CLUSTER brings up; docs/kubernetes.md says how.
e2e: images $(HELM) ## Build the images, install the chart on a real cluster and assert on it
	@tests/e2e/run.sh $(REGISTRY) $(TAG) $(COMPONENTS)

format: $(INSTALLED) ## Format the code and apply safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove the environment, caches and what the demo wrote
	@rm -rf $(VENV) .wavecast .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
