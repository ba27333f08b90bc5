# Thin targets: each is a command or two that can also be typed. `make` alone lists them.

TILEFLEET := $(or $(CARGO_TARGET_DIR),target)/debug/tilefleet

.DEFAULT_GOAL := help
.PHONY: help demo test test-processors faults bench peers spell fmt lint doc features msrv deny build image test-env test-stores test-kube-tools test-build chart-docs kube kube-keda kube-build clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 18

demo: build ## Run the whole job on generated images, into ./tilefleet-demo
	$(TILEFLEET) runtime install
	$(TILEFLEET) demo

# Built as the tests are, so that the dependencies are compiled once.
test: test-env test-stores test-kube-tools test-build ## Run all tests, setting up what they need; list those that were skipped
	$(TILEFLEET) runtime install
	scripts/list-skipped cargo test --locked

# 500 photos through an emulated Haswell: slow, so `make test` does it with a few.
test-processors: test-env ## Compare int8 rows of all test photos with those of a processor without VNNI (qemu-user, about 10 minutes)
	cargo test --locked --test it -- --ignored --nocapture all_photos_are_the_same_on_a_haswell

kube: kube-build test-env test-build ## Install the Helm chart into a real Kubernetes, and see what becomes of its pods (needs root)
	$(TILEFLEET) runtime install
	scripts/list-skipped cargo test --locked --test it -- --ignored --test-threads=8 --skip kube::keda kube::

kube-keda: kube-build test-env test-build ## The same with KEDA's operator, which takes 10 minutes to build
	@tests/kube/build keda
	$(TILEFLEET) runtime install
	scripts/list-skipped cargo test --locked --test it -- --ignored kube::keda

faults: test-env ## Run each file of the test data's faults, and print what came of it beside what is right
	cargo test --locked --test it faults::every -- --nocapture

bench: ## Measure against a bare session, plain Python, pyarrow and parquet-rs (an hour or more, 6 GB of disk)
	scripts/bench

peers: ## Run the same jobs in Ray Data, Daft and plain Python (about 30 minutes)
	scripts/peers

spell: test-env ## Check the spelling (.codespellrc has the exceptions)
	git ls-files -z | xargs -0 .venv/bin/codespell

fmt: ## Format the code
	cargo fmt --all

lint: ## Check the format and run clippy
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

doc: ## Build the documentation; a warning is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

features: ## Run clippy without the default features
	cargo clippy --locked --no-default-features -- -D warnings

msrv: ## Check the oldest Rust that Cargo.toml allows, as far as it can be had
	scripts/check-msrv

deny: test-env ## Check licences, bans and sources of the dependencies
	scripts/check-deps

build: ## Build the binary
	cargo build --locked

image: ## Build the container image (needs Docker; docs/how-to/container-image.md)
	docker build -t tilefleet --build-arg REVISION=$$(git rev-parse HEAD) .

test-env: ## Install Python and what the tests need of it, into .venv
	@scripts/test-env

test-stores: test-env ## Install the servers of stores that the tests start, into .venv
	@scripts/test-stores

test-kube-tools: test-env ## Install helm, kubeconform, promtool and schemas, by which the chart is tested, into .kube
	@scripts/kube-tools

kube-build: test-kube-tools ## Build Kubernetes for the tests of the chart, into .kube (about 10 minutes)
	@tests/kube/build

chart-docs: test-env ## Rewrite the chart's table of values and its schema's list of settings
	@scripts/chart-docs

test-build: ## Build the tests
	cargo test --locked --no-run

clean: ## Remove what the targets made in this folder
	cargo clean
	rm -rf .venv .venv-peers .kube tilefleet-demo
