// Command client is the MCP client that the official conformance suite starts:
// packages toolbox and tokensource, told what to do by the suite. It serves no
// other purpose.
//
// The last argument is the server's URL. The environment has the rest:
//
//	MCP_CONFORMANCE_SCENARIO          name of the scenario
//	MCP_CONFORMANCE_CONTEXT           its data, a JSON object; may be missing
//	MCP_CONFORMANCE_PROTOCOL_VERSION  revision of the protocol to speak (default 2025-11-25)
//
// It connects, lists the tools and calls them. Status 0 means that this worked;
// in some scenarios it must not.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scenario is what the suite passes to the client.
type scenario struct {
	name, url, era string

	ClientID     string     `json:"client_id"`
	ClientSecret string     `json:"client_secret"`
	PrivateKey   string     `json:"private_key_pem"`
	ToolCalls    []toolCall `json:"toolCalls"`
}

type toolCall struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

func read(args []string, getenv func(string) string) (scenario, error) {
	s := scenario{name: getenv("MCP_CONFORMANCE_SCENARIO"), era: getenv("MCP_CONFORMANCE_PROTOCOL_VERSION")}
	if len(args) == 0 || s.name == "" {
		return s, errors.New("want MCP_CONFORMANCE_SCENARIO and the server's URL as last argument; the suite gives both")
	}
	s.url = args[len(args)-1]
	if data := getenv("MCP_CONFORMANCE_CONTEXT"); data != "" {
		if err := json.Unmarshal([]byte(data), &s); err != nil {
			return s, fmt.Errorf("MCP_CONFORMANCE_CONTEXT: %w", err)
		}
	}
	return s, nil
}

// run plays one scenario, well within the 30 seconds that the suite allows.
func run(ctx context.Context, args []string, getenv func(string) string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	s, err := read(args, getenv)
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	box := toolbox.New([]toolbox.Server{{
		Name:  "conformance",
		Allow: []string{"*"}, // destructive ones too
		Era:   s.era,
		Resolve: func(context.Context) (toolbox.Endpoint, error) {
			return toolbox.Endpoint{URL: s.url, Client: client}, nil
		},
	}}, toolbox.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	defer box.Close(context.WithoutCancel(ctx))
	tools, _, err := box.Tools(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, call := range s.calls(tools) {
		result, err := box.Call(ctx, call.Name, call.Arguments)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Printf("%s: %s\n", call.Name, result.Text)
	}
	return errors.Join(failed...)
}

// client returns a plain HTTP client, unless the scenario is about
// authorization. Scenarios without credentials expect the client to register
// itself. Ours does not, so it gets made-up credentials.
func (s scenario) client() (*http.Client, error) {
	if !strings.HasPrefix(s.name, "auth/") {
		return &http.Client{}, nil
	}
	c := credstore.Credentials{ClientID: s.ClientID, ClientSecret: credstore.NewSecret(s.ClientSecret)}
	if c.ClientID == "" {
		c = credstore.Credentials{ClientID: "some-client", ClientSecret: credstore.NewSecret("some-secret")}
	}
	cfg := tokensource.Config{
		Credentials: tokensource.Static(c),
		Resource:    s.url,
		Discover:    true,
		Logger:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if s.PrivateKey != "" {
		key, err := parseKey(s.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("private_key_pem: %w", err)
		}
		cfg.Key = key
	}
	source, err := tokensource.New(cfg)
	if err != nil {
		return nil, err
	}
	return source.Client(), nil
}

func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("want a PEM block")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("want a key that can sign, not a %T", key)
	}
	return signer, nil
}

// calls returns the tool calls to make: those that the suite lists, or else one
// for each tool, with arguments that fit.
func (s scenario) calls(tools []toolbox.Tool) []toolCall {
	if len(s.ToolCalls) > 0 {
		return s.ToolCalls
	}
	var calls []toolCall
	for _, t := range tools {
		arguments := "{}"
		switch t.Tool {
		case "add_numbers":
			arguments = `{"a":2,"b":3}`
		case "valid_tool":
			arguments = `{"region":"eu-west-1"}`
		case "lookup_user":
			arguments = `{"id":"somebody"}`
		case "json_schema_2020_12_tool":
			arguments = `{"phone":"1","contactMethod":"phone"}`
		case "json_schema_echo": // wants the other tool's schema back as it came
			for _, other := range tools {
				if other.Tool == "json_schema_2020_12_tool" {
					arguments = `{"schema":` + string(other.InputSchema) + `}`
				}
			}
		}
		calls = append(calls, toolCall{t.Name, json.RawMessage(arguments)})
	}
	return calls
}
