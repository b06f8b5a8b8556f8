package converse_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"

	"agentcore-mcp-auth/pkg/converse"
	"agentcore-mcp-auth/pkg/localaws"
)

const modelID = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"

// rig is a loop over the real SDK and the stand-in's Bedrock.
type rig struct {
	*converse.Loop
	srv *localaws.Server
}

// newRig joins the SDK and the stand-in in memory, so that it works in a
// synctest bubble.
func newRig(cfg converse.Config, model localaws.Model) *rig {
	srv := localaws.New(localaws.Config{})
	srv.SetModel(model)
	cfg.Model = newClient(srv)
	if cfg.ModelIDs == nil {
		cfg.ModelIDs = []string{modelID}
	}
	return &rig{converse.New(cfg), srv}
}

// newClient is the SDK's client of a handler.
func newClient(h http.Handler) *bedrockruntime.Client {
	return bedrockruntime.New(bedrockruntime.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String("http://127.0.0.1"),
		Credentials:  credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, localaws.SecretAccessKey, ""),
		HTTPClient:   inMemory{h},
	})
}

// requests is the body of every model call so far.
func (r *rig) requests() []string {
	var bodies []string
	for _, rec := range r.srv.Records() {
		bodies = append(bodies, string(rec.RequestBody))
	}
	return bodies
}

// inMemory is an HTTP client of one handler.
type inMemory struct{ handler http.Handler }

func (c inMemory) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(ctx)
	in.Host = cmp.Or(req.Host, req.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, pipe := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pipe: pipe, started: make(chan struct{})}
	go func() {
		defer cancel()
		defer func() {
			if r := recover(); r != nil {
				if r != http.ErrAbortHandler {
					panic(r)
				}
				w.broken = true
				w.start(http.StatusOK)
				pipe.CloseWithError(io.ErrUnexpectedEOF)
				return
			}
			w.start(http.StatusOK)
			pipe.Close()
		}()
		c.handler.ServeHTTP(w, in)
	}()
	select {
	case <-ctx.Done():
		if err := req.Context().Err(); err != nil {
			body.CloseWithError(err)
			return nil, err
		}
		<-w.started
	case <-w.started:
	}
	if w.status == 0 {
		return nil, io.EOF
	}
	context.AfterFunc(req.Context(), func() { pipe.CloseWithError(req.Context().Err()) })
	return &http.Response{StatusCode: w.status, Header: w.sent, Body: bodyCloser{body, cancel}, ContentLength: -1, Request: req, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

type bodyCloser struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b bodyCloser) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

type pipeWriter struct {
	header  http.Header
	pipe    *io.PipeWriter
	once    sync.Once
	started chan struct{}
	broken  bool
	status  int // what follows is written before started is closed
	sent    http.Header
}

func (w *pipeWriter) start(status int) {
	w.once.Do(func() {
		if !w.broken {
			w.status, w.sent = status, w.header.Clone()
		}
		close(w.started)
	})
}

func (w *pipeWriter) Header() http.Header         { return w.header }
func (w *pipeWriter) WriteHeader(status int)      { w.start(status) }
func (w *pipeWriter) Flush()                      {}
func (w *pipeWriter) Write(p []byte) (int, error) { w.start(http.StatusOK); return w.pipe.Write(p) }

// toolset is a toolbox of functions. It notes every call.
type toolset struct {
	tools []converse.Tool
	run   func(ctx context.Context, name string, input json.RawMessage) (converse.Result, error)

	mu    sync.Mutex
	calls []string // name and input
}

func (s *toolset) Tools(context.Context) ([]converse.Tool, error) { return s.tools, nil }

func (s *toolset) Call(ctx context.Context, name string, input json.RawMessage) (converse.Result, error) {
	s.mu.Lock()
	s.calls = append(s.calls, name+" "+string(input))
	s.mu.Unlock()
	return s.run(ctx, name, input)
}

// tools offers names, each taking any object, over run; a nil run says "ok".
func tools(run func(ctx context.Context, name string, input json.RawMessage) (converse.Result, error), names ...string) *toolset {
	if run == nil {
		run = func(context.Context, string, json.RawMessage) (converse.Result, error) {
			return converse.Result{Text: "ok"}, nil
		}
	}
	s := &toolset{run: run}
	for _, name := range names {
		s.tools = append(s.tools, converse.Tool{Name: name, Description: name, InputSchema: json.RawMessage(`{"type":"object"}`)})
	}
	return s
}

func use(id, name, input string) localaws.ToolUse {
	return localaws.ToolUse{ID: id, Name: name, Input: json.RawMessage(input)}
}

// refusal is a reply that is an exception of Bedrock.
func refusal(typ string) localaws.ConverseReply {
	return localaws.ConverseReply{Error: &localaws.ConverseError{Type: typ, Message: "scripted"}}
}

// lastResults is the text of the tool results that the model was given last,
// an error marked with a !.
func lastResults(req localaws.ConverseRequest) []string {
	var texts []string
	for _, b := range req.Messages[len(req.Messages)-1].Content {
		if r := b.ToolResult; r != nil && r.IsError {
			texts = append(texts, "!"+r.Text)
		} else if r != nil {
			texts = append(texts, r.Text)
		}
	}
	return texts
}

// watched is a model that notes its requests.
type watched struct {
	model localaws.Model
	mu    sync.Mutex
	seen  []localaws.ConverseRequest
}

func (w *watched) answer(req localaws.ConverseRequest) localaws.ConverseReply {
	w.mu.Lock()
	w.seen = append(w.seen, req)
	w.mu.Unlock()
	return w.model(req)
}

func (w *watched) last() localaws.ConverseRequest { return w.seen[len(w.seen)-1] }

// bothWays runs a test with Converse and with ConverseStream; events is nil for
// the first.
func bothWays(t *testing.T, f func(t *testing.T, events func(converse.Event))) {
	t.Run("whole", func(t *testing.T) { f(t, nil) })
	t.Run("stream", func(t *testing.T) { f(t, func(converse.Event) {}) })
}

func wantModelError(t *testing.T, err error, kind converse.Kind, contains string) {
	t.Helper()
	var m *converse.ModelError
	if !errors.As(err, &m) || m.Kind != kind || !strings.Contains(err.Error(), contains) {
		t.Errorf("got error %v, want a ModelError %s with %q", err, kind, contains)
	}
}
