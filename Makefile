# Everything starts here. The targets are thin: `cargo xtask` does the work.
.DEFAULT_GOAL := help
SHELL := /bin/bash

ANNULUS_CACHE ?= $(HOME)/.cache/annulus
export ANNULUS_CACHE
# One optimised RocksDB archive for every profile (see xtask/src/archive.rs).
export ROCKSDB_LIB_DIR := $(ANNULUS_CACHE)/rocksdb/0.25.0-$(shell uname -m)
export ROCKSDB_STATIC := 1

# Leave out the tests that need a cluster: make test E2E=no
E2E ?= yes

.PHONY: help up down test soak verify fix bench faults deps env

help: ## List the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

up: deps ## Start a Kubernetes with the operator and a KVCluster of three nodes; write and read a key
	cargo xtask up

down: ## End what `make up` started
	cargo xtask down

test: deps ## Run everything: checks, unit, property and process tests, and those on a real Kubernetes
	cargo xtask test $(if $(filter no,$(E2E)),--without-cluster)

soak: deps ## Simulate clusters under faults, with ever new seeds, for half an hour: make soak MINUTES=5
	cargo xtask soak $(if $(MINUTES),--minutes $(MINUTES))

verify: deps ## Check without changing anything: format, lints, docs, generated files, licences, protobuf, charts
	cargo xtask verify

fix: deps ## Format, apply what clippy can mend, write the generated files
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo xtask generate

bench: deps ## Run the benchmarks and print their figures
	cargo xtask bench

faults: deps ## Run five real nodes under faults for ten minutes and judge what they did
	cargo xtask faults

deps: ## Install what a Debian machine with Rust and Go lacks, and build the RocksDB archive once
	@xtask/install-packages
	@cargo xtask rocksdb-archive

env: ## Print the environment for calling cargo directly: eval "$$(make env)"
	@echo 'export ROCKSDB_LIB_DIR=$(ROCKSDB_LIB_DIR) ROCKSDB_STATIC=1'
