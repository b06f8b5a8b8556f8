package calcserver_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"agentcore-mcp-auth/pkg/calculator/calcserver"
)

var update = flag.Bool("update", false, "write the golden file anew")

// Models choose tools by their descriptions, and callers have reviewed them. A
// change must change the golden file too (go test ./pkg/calculator/calcserver
// -update). case 126
func TestToolsList(t *testing.T) {
	s := calcserver.New("1")
	answer, err := json.Marshal(s.HandleMessage(t.Context(), json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)))
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ Result json.RawMessage }
	if err := json.Unmarshal(answer, &a); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, a.Result, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	golden := filepath.Join("testdata", "tools.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got tools/list\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// A call is checked and exact even without an endpoint in front.
func TestCall(t *testing.T) {
	s := calcserver.New("1")
	for params, want := range map[string]string{
		`{"name":"add_numbers","arguments":{"a":9007199254740993,"b":1}}`:               `{"content":[{"type":"text","text":"9007199254740994"}],"structuredContent":{"result":"9007199254740994"}}`,
		`{"name":"multiply_numbers","arguments":{"a":1.5,"b":1}}`:                       `{"content":[{"type":"text","text":"a must be a whole number, without a fraction"}],"isError":true}`,
		`{"name":"evaluate","arguments":{"expression":"1/3+1/6"}}`:                      `{"content":[{"type":"text","text":"1/2"}],"structuredContent":{"result":"1/2"}}`,
		`{"name":"evaluate","arguments":{"expression":"9^9^9"}}`:                        `{"content":[{"type":"text","text":"a result is too large: exact numbers have at most 5000 digits, decimals reach about 1.8e308"}],"isError":true}`,
		`{"name":"integrate","arguments":{"expression":"1/x","lower":"1/0","upper":1}}`: `{"content":[{"type":"text","text":"lower: division by zero"}],"isError":true}`,
		`{"name":"greet_user"}`: `{"content":[{"type":"text","text":"argument name is missing"}],"isError":true}`,
	} {
		answer, err := json.Marshal(s.HandleMessage(t.Context(), json.RawMessage(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`)))
		if err != nil {
			t.Fatal(err)
		}
		var a struct{ Result json.RawMessage }
		if err := json.Unmarshal(answer, &a); err != nil {
			t.Fatal(err)
		}
		if string(a.Result) != want {
			t.Errorf("%s: got %s, want %s", params, a.Result, want)
		}
	}
}
