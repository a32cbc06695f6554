# Weir's targets. Each is a script of scripts/, which finds its own settings: see scripts/env.sh.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build guests demo demo-kafka test test-demo test-guest-routes test-faults test-sabotage lint bench bench-against fmt

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the build needs and is not there
	@scripts/setup.sh

build: ## build the host and the example guests
	@scripts/build.sh

guests: ## build the example guests into guest-examples/bin
	@scripts/build-guests.sh

demo: ## word count on this machine, with a live view; needs no Kafka
	@scripts/demo.sh

demo-kafka: ## word count over a real Kafka that is started for it
	@scripts/setup.sh --kafka
	@scripts/demo-kafka.sh

test: ## all tests, with a real Kafka
	@scripts/test.sh

test-demo: ## only the demo's tests, on a pseudo-terminal
	@scripts/build.sh
	@python3 tests/demo/test_demo.py

test-guest-routes: ## examples built by cargo and by cargo-component give the same output; not in make test
	@scripts/test-guest-routes.sh

test-faults: ## 200 random kills and 20 at each failpoint; writes fault-results.json
	@scripts/test-faults.sh

test-sabotage: ## break one rule after the other; the tests have to notice
	@scripts/test-sabotage.sh

lint: ## format, clippy, licences, documentation, shell scripts
	@scripts/lint.sh

bench: ## measure each promised figure; writes bench-results.json
	@scripts/bench.sh

bench-against: ## compare figures with those of COMMIT, measured in turns
	@scripts/bench-against.sh "$(COMMIT)"

fmt: ## format all Rust code
	@cargo fmt --all
	@cargo fmt --all --manifest-path guest-examples/Cargo.toml
