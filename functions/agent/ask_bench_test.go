package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"agentcore-mcp-auth/pkg/trigger"
)

// instant stands for Bedrock, an MCP server and Parameter Store, and answers at
// once with prepared bytes.
func instant(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasPrefix(r.URL.Path, "/model/"):
		content, stop := `{"text":"The sum of 2 + 2 = 4."}`, "end_turn"
		if !bytes.Contains(body, []byte("toolResult")) {
			content, stop = `{"toolUse":{"toolUseId":"tooluse_1","name":"add_numbers","input":{"a":2,"b":2}}}`, "tool_use"
		}
		io.WriteString(w, `{"metrics":{"latencyMs":1},"output":{"message":{"role":"assistant","content":[`+content+`]}},"stopReason":"`+stop+`","usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2}}`)
	case r.URL.Path == "/mcp":
		var request struct {
			ID     json.RawMessage
			Method string
		}
		json.Unmarshal(body, &request)
		result := map[string]string{
			"initialize": `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}`,
			"tools/list": `{"tools":[{"name":"add_numbers","description":"Adds.","inputSchema":{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"]}}]}`,
			"tools/call": `{"content":[{"type":"text","text":"4"}]}`,
		}[request.Method]
		if result == "" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(request.ID)+`,"result":`+result+`}`)
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		io.WriteString(w, `{"Parameters":[{"Name":"/app/mcp/calc/endpoint","Value":"http://`+r.Host+`/mcp","Type":"String","Version":1}]}`)
	}
}

// BenchmarkAsk measures a warm answer in one process while all services answer
// at once. It compares it with the floor: the same three requests sent with
// net/http. own-ms is the agent's own time.
func BenchmarkAsk(b *testing.B) {
	var sent []*http.Request
	var bodies [][]byte
	record := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if record {
			body, _ := io.ReadAll(r.Body)
			sent, bodies = append(sent, r.Clone(b.Context())), append(bodies, body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		instant(w, r)
	}))
	defer srv.Close()
	env := map[string]string{"BEDROCK_MODEL_ID": "eu.anthropic.model-v1:0", "MCP_SERVERS": "calc", "MCP_AUTH": "none"}
	s, err := readSettings(func(name string) string { return env[name] })
	if err != nil {
		b.Fatal(err)
	}
	a := newAgent(aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String(srv.URL), Credentials: credentials.NewStaticCredentialsProvider("id", "key", ""),
	}, s, slog.New(slog.DiscardHandler))
	ask := func() {
		if answer, err := a.Ask(b.Context(), trigger.Request{Prompt: "What is 2+2?", SessionID: "s"}); err != nil || answer.Output == "" {
			b.Fatalf("got %+v, %v", answer, err)
		}
	}
	ask()
	record = true
	ask()
	record = false
	if len(sent) != 3 {
		b.Fatalf("a warm answer took %d requests, want 3", len(sent))
	}
	floor := func() {
		for i, r := range sent {
			req, err := http.NewRequest(r.Method, srv.URL+r.URL.RequestURI(), bytes.NewReader(bodies[i]))
			if err != nil {
				b.Fatal(err)
			}
			req.Header = r.Header
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	floor()

	var agents, floors []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		ask()
		agents = append(agents, time.Since(start))
		start = time.Now()
		floor()
		floors = append(floors, time.Since(start))
	}
	middle := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Microseconds()) / 1000
	}
	agentMS, floorMS := middle(agents), middle(floors)
	b.ReportMetric(agentMS, "agent-ms")
	b.ReportMetric(floorMS, "floor-ms")
	b.ReportMetric(agentMS-floorMS, "own-ms")
	b.ReportMetric(agentMS/floorMS, "ratio")
}
