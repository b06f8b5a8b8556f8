package toolbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/tokensource"
	"agentcore-mcp-auth/pkg/toolbox"
)

// BenchmarkCall measures a tools/call through a toolbox and a token source
// against the floor: a plain POST of the same call over the same connections, the
// answer read to its end. The two take turns, and what counts is the ratio of
// their medians.
func BenchmarkCall(b *testing.B) {
	for _, form := range []string{"json", "sse"} {
		for _, callers := range []int{1, 50} {
			b.Run(fmt.Sprintf("%s/callers=%d", form, callers), func(b *testing.B) { benchmarkCall(b, form, callers) })
		}
	}
}

func benchmarkCall(b *testing.B, form string, callers int) {
	url := benchServer(b, form == "sse")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	source, err := tokensource.New(tokensource.Config{
		Credentials: tokensource.Static{ClientID: "id", ClientSecret: credstore.NewSecret("secret"), DiscoveryURL: issuer + "/.well-known/openid-configuration"},
		Resource:    url, Base: client.Transport, Transport: issuerTransport{},
	})
	if err != nil {
		b.Fatal(err)
	}
	box := toolbox.New([]toolbox.Server{{Name: "calc", Resolve: func(context.Context) (toolbox.Endpoint, error) {
		return toolbox.Endpoint{URL: url, Client: source.Client()}, nil
	}}}, toolbox.Options{})
	defer box.Close(context.Background())
	if _, _, err := box.Tools(b.Context()); err != nil {
		b.Fatal(err)
	}
	input := []byte(`{"a":2,"b":2}`)
	body := `{"jsonrpc":"2.0","id":1000,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":2}}}`
	through := func() {
		r, err := box.Call(context.Background(), "add", input)
		if err != nil || r.Text != "4" {
			b.Errorf("got %+v, %v", r, err)
		}
	}
	raw := func() {
		req, _ := http.NewRequest("POST", url, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("Authorization", "Bearer "+accessToken)
		resp, err := client.Do(req)
		if err != nil {
			b.Error(err)
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Error(err)
		}
		resp.Body.Close()
	}
	measure := func(f func()) []time.Duration {
		took := make([]time.Duration, callers)
		var wg sync.WaitGroup
		for i := range took {
			wg.Go(func() { start := time.Now(); f(); took[i] = time.Since(start) })
		}
		wg.Wait()
		return took
	}
	if callers == 1 {
		measure = func(f func()) []time.Duration { start := time.Now(); f(); return []time.Duration{time.Since(start)} }
	}
	var own, floor []time.Duration
	for b.Loop() {
		own = append(own, measure(through)...)
		floor = append(floor, measure(raw)...)
	}
	slices.Sort(own)
	slices.Sort(floor)
	b.ReportMetric(float64(own[len(own)/2].Nanoseconds())/1e3, "call-µs")
	b.ReportMetric(float64(floor[len(floor)/2].Nanoseconds())/1e3, "post-µs")
	b.ReportMetric(float64(own[len(own)/2])/float64(floor[len(floor)/2]), "p50-ratio")
	b.ReportMetric(float64(own[len(own)*99/100])/float64(floor[len(floor)*99/100]), "p99-ratio")
}

const issuer = "http://127.0.0.1:1/pool"

var accessToken = strings.Repeat("a", 900) // a machine token of Cognito is about so long

// issuerTransport answers for an issuer, in memory.
type issuerTransport struct{}

func (issuerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"access_token":"` + accessToken + `","token_type":"Bearer","expires_in":3600}`
	if r.Method == http.MethodGet {
		body = `{"issuer":"` + issuer + `","token_endpoint":"http://127.0.0.1:1/oauth2/token"}`
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// benchServer answers as an MCP server with one tool, doing as little as it can.
func benchServer(b *testing.B, stream bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, rest, _ := bytes.Cut(body, []byte(`"id":`))
		id, _, _ := bytes.Cut(rest, []byte(","))
		result := `{"content":[{"type":"text","text":"4"}]}`
		switch {
		case bytes.Contains(body, []byte(`"initialize"`)):
			result = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}`
		case bytes.Contains(body, []byte(`"tools/list"`)):
			result = `{"tools":[{"name":"add","inputSchema":{"type":"object"}}]}`
		case !bytes.Contains(body, []byte(`"id"`)):
			w.WriteHeader(http.StatusAccepted)
			return
		}
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
		if stream {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "event: message\ndata: %s\n\n", answer)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	})}
	go s.Serve(l)
	b.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String() + "/mcp"
}
