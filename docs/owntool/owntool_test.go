package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/server"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
	"agentcore-mcp-auth/pkg/mcpserver"
)

// The page shows what is compiled here, to the letter.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../own-tools.md")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range []string{"main.go", "reverse.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(b)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	for _, b := range blocks {
		code, _, closed := strings.Cut(b, "```\n")
		if !closed || !strings.Contains(source.String(), "\n"+code) {
			t.Errorf("own-tools.md has code that is not in docs/owntool:\n%s", code)
		}
	}
	if got, want := len(blocks), 3; got != want {
		t.Errorf("got %d blocks of code, want %d", got, want)
	}
}

// The page's request has the answer that the page lets expect.
func TestPage_request(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	page, err := os.ReadFile("../own-tools.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^    curl (?:.*\\\n)*.*$`).FindString(string(page))
	h, err := handler()
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	if !strings.Contains(command, "http://127.0.0.1:8000/") {
		t.Fatalf("the page has no request: %q", command)
	}
	command = strings.ReplaceAll(command, "http://127.0.0.1:8000", srv.URL)
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil || !strings.Contains(string(out), `"text":"12"`) {
		t.Errorf("got %v, %s, want 12", err, out)
	}
}

// call calls a tool of h over HTTP.
func call(t *testing.T, h http.Handler, params string) string {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	resp, err := http.Post(srv.URL+mcpserver.Path, "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestInStock(t *testing.T) {
	h, err := handler()
	if err != nil {
		t.Fatal(err)
	}
	for arguments, want := range map[string]string{
		`{"article":"A-100"}`: `"text":"12"`,
		`{"article":"B"}`:     `"isError":true`,
		`{"article":7}`:       `"isError":true`,
		`{}`:                  `"isError":true`,
	} {
		if got := call(t, h, `{"name":"in_stock","arguments":`+arguments+`}`); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s in it", arguments, got, want)
		}
	}
}

func TestReverse(t *testing.T) {
	if got, err := reverse.Call(t.Context(), json.RawMessage(`{"text":"Zoë"}`)); err != nil || got != "ëoZ" {
		t.Errorf("got %q, %v, want ëoZ", got, err)
	}
	if got, err := reverse.Call(t.Context(), json.RawMessage(`{"text":1}`)); err == nil || err.Error() != "text must be a string" {
		t.Errorf("got %q, %v, want a refusal", got, err)
	}
	s := server.NewMCPServer("reverse", "1.0.0")
	calcserver.Register(s, reverse)
	h, err := mcpserver.New(s, mcpserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := call(t, h, `{"name":"reverse","arguments":{"text":"abc"}}`), `"structuredContent":{"result":"cba"}`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}
