# Go is all that the targets need; `make lint` also uses cfn-lint or sam where one is installed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION  := $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOBUILD  := CGO_ENABLED=0 go build -trimpath -buildvcs=false
STRIPPED := -ldflags '-s -w'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## compile everything into bin/, for this machine
	$(GOBUILD) -tags lambda.norpc $(STRIPPED) -o bin/cognito-setup/bootstrap ./functions/cognito-setup
	$(GOBUILD) -tags lambda.norpc $(STRIPPED) -o bin/agent/bootstrap ./functions/agent
	$(GOBUILD) $(STRIPPED) -o bin/mcp-server ./functions/mcp-server
	$(GOBUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o bin/mcpauth ./cmd/mcpauth

build-arm64: ## the same for linux/arm64
	GOOS=linux GOARCH=arm64 $(MAKE) build

demo: build ## show the whole path on this machine; PROMPT="greet Alice" asks something else
	@bin/mcpauth demo $(if $(PROMPT),"$$PROMPT")

export PROMPT

test: ## run the tests
	go test ./...

check: ## gofmt, vet, staticcheck, tests under -race, govulncheck where its database can be reached
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go test -race ./...
	@tools/govulncheck.sh

lint: ## check template.yaml with cfn-lint or sam
	@if command -v cfn-lint >/dev/null; then cfn-lint template.yaml && echo "cfn-lint: nothing found"; \
	elif command -v sam >/dev/null; then sam validate --lint; \
	else echo "neither cfn-lint nor sam is installed: template.yaml was not checked"; fi

conformance: ## run the official MCP conformance suite against the server and the client (npm, once)
	@node=$$(conformance/install.sh .conf) && \
	go build -o .conf/bin/ ./conformance/server ./conformance/client ./conformance/run && \
	.conf/bin/run -node "$$node" -suite .conf/node_modules/@modelcontextprotocol/conformance/dist/index.js \
		-server .conf/bin/server -client .conf/bin/client -out .conf/out $(SCENARIO)

bench: ## measure: what a request costs beyond the floor, sizes and memory
	go test -run '^$$' -bench . -benchmem ./...

invoke-%: build ## send events/NAME.json to its function on this machine, as in make invoke-ask
	@bin/mcpauth local invoke $(if $(filter cfn-% setup-%,$*),cognito-setup,agent) -e events/$*.json

clean: ## remove what the targets made
	rm -rf bin .aws-sam out .conf

.PHONY: help build build-arm64 demo test check lint conformance bench clean
