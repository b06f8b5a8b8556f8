package converse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

var update = flag.Bool("update", false, "write the golden sections of testdata/*.txtar anew")

// archive is a txtar archive: a comment, then files, each after a line
// "-- name --". Its format is that of golang.org/x/tools/txtar.
type archive struct {
	comment string
	names   []string
	files   map[string]string
}

func readArchive(t *testing.T, path string) *archive {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{files: map[string]string{}}
	into := &a.comment
	var name string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "-- ") && strings.HasSuffix(line, " --\n") {
			if name != "" {
				a.set(name, *into)
			}
			name, into = strings.TrimSpace(line[3:len(line)-4]), new(string)
			continue
		}
		*into += line
	}
	a.set(name, *into)
	return a
}

func (a *archive) set(name, content string) {
	if _, there := a.files[name]; !there {
		a.names = append(a.names, name)
	}
	a.files[name] = content
}

func (a *archive) String() string {
	var b strings.Builder
	b.WriteString(a.comment)
	for _, name := range a.names {
		fmt.Fprintf(&b, "-- %s --\n%s", name, a.files[name])
	}
	return b.String()
}

// decode reads a file of the archive, if it is there.
func (a *archive) decode(t *testing.T, name string, into any) {
	t.Helper()
	if content, ok := a.files[name]; ok {
		dec := json.NewDecoder(strings.NewReader(content))
		dec.DisallowUnknownFields()
		if err := dec.Decode(into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func indented(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// TestTranscripts has each conversation of testdata twice, with Converse and
// with ConverseStream, and compares what went over the wire, the answer, and
// the events of the stream with the archive. Both ways must send the same
// bytes: what is put together from a stream is what Converse gives.
func TestTranscripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < 7 {
		t.Fatalf("found %d transcripts, %v", len(paths), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := readArchive(t, path)
			before := a.String()
			requests, answer, none := converseArchive(t, a, false)
			a.set("requests.json", requests)
			a.set("answer.json", answer)
			if none != "" {
				t.Errorf("got events without having asked for any:\n%s", none)
			}
			streamed, streamedAnswer, events := converseArchive(t, a, true)
			a.set("events", events)
			if streamed != requests || streamedAnswer != answer {
				t.Errorf("the stream differs:\n%s%s\nwant\n%s%s", streamed, streamedAnswer, requests, answer)
			}
			if *update {
				if err := os.WriteFile(path, []byte(a.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got := a.String(); got != before {
				t.Errorf("got\n%s\nwant\n%s", got, before)
			}
		})
	}
}

func converseArchive(t *testing.T, a *archive, stream bool) (requests, answer, events string) {
	var cfg converse.Config
	var request converse.Request
	var replies []localaws.ConverseReply
	var specs []struct {
		Name, Description string
		InputSchema       json.RawMessage
		Result            converse.Result
	}
	a.decode(t, "config.json", &cfg)
	a.decode(t, "request.json", &request)
	a.decode(t, "model.json", &replies)
	a.decode(t, "tools.json", &specs)
	box := tools(func(_ context.Context, name string, _ json.RawMessage) (converse.Result, error) {
		for _, s := range specs {
			if s.Name == name {
				return s.Result, nil
			}
		}
		return converse.Result{}, fmt.Errorf("no tool %s", name)
	})
	for _, s := range specs {
		box.tools = append(box.tools, converse.Tool{Name: s.Name, Description: s.Description, InputSchema: s.InputSchema})
	}
	for i := range replies {
		replies[i].Usage = &localaws.TokenUsage{InputTokens: 100, OutputTokens: 10}
	}
	// Results come as the tools end; one turn's are put in the order of its ids.
	var log strings.Builder
	pending := map[string]string{}
	if stream {
		var order []string
		request.Events = func(e converse.Event) {
			switch e.Kind {
			case converse.EventDelta:
				fmt.Fprintf(&log, "%d delta %q\n", e.Turn, e.Text)
			case converse.EventToolUse:
				order = append(order, e.ID)
				fmt.Fprintf(&log, "%d tool_use %s %s %s\n", e.Turn, e.ID, e.Tool, e.Input)
			case converse.EventToolResult:
				pending[e.ID] = fmt.Sprintf("%d tool_result %s %s error=%t %q\n", e.Turn, e.ID, e.Tool, e.IsError, e.Text)
				if len(pending) == len(order) {
					for _, id := range order {
						log.WriteString(pending[id])
					}
					clear(pending)
					order = nil
				}
			case converse.EventUsage:
				fmt.Fprintf(&log, "%d usage %d %d\n", e.Turn, e.Usage.InputTokens, e.Usage.OutputTokens)
			}
		}
	}
	r := newRig(cfg, localaws.Script(replies...))
	got, err := r.Run(t.Context(), request, box)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range r.requests() {
		requests += indented(t, []byte(body))
	}
	for i := range got.ToolCalls {
		got.ToolCalls[i].Duration = 0
	}
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	return requests, indented(t, raw), log.String()
}
