# Go is all that the targets need; `make lint` also uses cfn-lint or sam where one is installed.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOBUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w'

# pack FOLDER,ARCHITECTURE puts the programs that image-publisher makes images of into FOLDER. They are always built for linux.
define pack
	GOOS=linux GOARCH=$(2) $(GOBUILD) -o bin/images/$(2)/mcp-server ./functions/mcp-server
	GOOS=linux GOARCH=$(2) $(GOBUILD) -o bin/images/$(2)/agent ./functions/agent
	GOOS= GOARCH= go run ./functions/image-publisher/pack $(1)/images.tar.zst bin/images/$(2)/mcp-server bin/images/$(2)/agent
endef

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9%-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## compile everything into bin/, for this machine
	$(GOBUILD) -o bin/cognito-setup/bootstrap ./functions/cognito-setup
	$(GOBUILD) -o bin/agent/bootstrap ./functions/agent
	$(GOBUILD) -o bin/mcp-server ./functions/mcp-server
	$(GOBUILD) -o bin/image-publisher/bootstrap ./functions/image-publisher
	$(call pack,bin/image-publisher,$(or $(GOARCH),$(shell go env GOARCH)))
	cp template.yaml bin/
	$(GOBUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o bin/mcpauth ./cmd/mcpauth

build-arm64: ## compile everything into bin/, for linux/arm64
	GOOS=linux GOARCH=arm64 $(MAKE) build

man: build ## write mcpauth's manual pages into bin/man
	bin/mcpauth man bin/man

demo: build ## show the whole path on this machine; PROMPT="greet Alice" asks something else
	@bin/mcpauth demo $(if $(PROMPT),"$$PROMPT")

# PROMPT is passed on as it was typed: make must not expand a $ in it.
override PROMPT := $(value PROMPT)
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
	@if command -v cfn-lint >/dev/null; then cfn-lint template.yaml docs/more-servers/template.yaml && echo "cfn-lint: nothing found"; \
	elif command -v sam >/dev/null; then sam validate --lint && sam validate --lint -t docs/more-servers/template.yaml; \
	else echo "neither cfn-lint nor sam is installed: template.yaml was not checked"; fi

conformance: ## run the official MCP conformance suite against the server and the client (npm, once)
	@node=$$(conformance/install.sh .conf) && \
	go build -o .conf/bin/ ./conformance/server ./conformance/client ./conformance/run && \
	.conf/bin/run -node "$$node" -suite .conf/node_modules/@modelcontextprotocol/conformance/dist/index.js \
		-server .conf/bin/server -client .conf/bin/client -out .conf/out $(SCENARIO)

bench: ## run the benchmarks ten times each and compare them with bench/results.json
	go run ./bench

soak: build ## keep the whole local stack under load and faults for ten minutes, and account for every question
	go run ./bench/soak

invoke-%: build ## send events/NAME.json to its function on this machine, as in make invoke-ask
	@bin/mcpauth local invoke $(if $(filter cfn-% setup-%,$*),cognito-setup,$(if $(filter image-%,$*),image-publisher,agent)) -e events/$*.json

# `sam build` calls these targets, one for each function of template.yaml.
build-CognitoSetupFunction:
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/cognito-setup

build-ImagePublisherFunction:
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/image-publisher
	$(call pack,$(ARTIFACTS_DIR),arm64)

build-AgentFunction:
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o $(ARTIFACTS_DIR)/bootstrap ./functions/agent

# The stack in AWS. CONFIG=dev or prod picks another set of samconfig.toml.
CONFIG ?= default

deploy: ## build and deploy the stack with sam; GUIDED=1 asks for the parameters
	sam build --config-env $(CONFIG)
	sam deploy --config-env $(CONFIG) $(if $(GUIDED),--guided)

invoke: ## ask the deployed agent: make invoke PROMPT="What is 2+2?"
	@$(if $(PROMPT),,$(error say what to ask: make invoke PROMPT="What is 2+2?"))
	@event=$$(printf %s "$$PROMPT" | tr '[:cntrl:]' ' ' | sed 's/[\\"]/\\&/g; s/.*/{"prompt":"&"}/') && set -x && \
	sam remote invoke AgentFunction --config-env $(CONFIG) --event "$$event"

logs: ## follow the logs of the deployed functions
	sam logs --config-env $(CONFIG) --tail

delete: ## remove the stack and all that it made
	sam delete --config-env $(CONFIG)

clean: ## remove what the targets made
	rm -rf bin .aws-sam out .conf

.PHONY: help build man build-arm64 demo test check lint conformance bench soak deploy invoke logs delete clean
