package customresource_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/localaws"

	"github.com/aws/aws-lambda-go/cfn"
)

const stack = "arn:aws:cloudformation:eu-central-1:000000000000:stack/mcp/1"

func startServer(t testing.TB) *localaws.Server {
	t.Helper()
	s := localaws.New(localaws.Config{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newEvent makes an event with a reply URL of its own.
func newEvent(s *localaws.Server, typ cfn.RequestType) (cfn.Event, *localaws.Reply) {
	reply := s.NewReply()
	e := cfn.Event{
		RequestType: typ, RequestID: "request", ResponseURL: reply.URL, ResourceType: "Custom::MCPClient",
		LogicalResourceID: "Client", StackID: stack, ResourceProperties: map[string]any{"McpName": "calculator"},
	}
	if typ != cfn.RequestCreate {
		e.PhysicalResourceID = "old-id"
	}
	if typ == cfn.RequestUpdate {
		e.OldResourceProperties = map[string]any{"McpName": "abacus"}
	}
	reply.Expect(e)
	return e, reply
}

func marshal(t testing.TB, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// logTo returns a logger and what it wrote.
func logTo() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewJSONHandler(&b, nil)), &b
}

func waitReply(t *testing.T, reply *localaws.Reply) cfn.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	res, err := reply.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := reply.Puts(); got != 1 {
		t.Errorf("%d answers, want 1", got)
	}
	return res
}

// createID is the id of a Create whose handler returned none.
const createID = "custom-resource-*"

func TestWrap(t *testing.T) {
	s := startServer(t)
	var nilMap map[string]any
	for _, tt := range []struct {
		name   string
		typ    cfn.RequestType
		id     string
		data   map[string]any
		err    error
		panics any
		status cfn.StatusType
		wantID string
		reason string // part of it
	}{
		{name: "create", typ: cfn.RequestCreate, id: "new", data: map[string]any{"ClientId": "c"}, status: "SUCCESS", wantID: "new"},
		{name: "create without id", typ: cfn.RequestCreate, status: "SUCCESS", wantID: createID},
		{name: "create fails", typ: cfn.RequestCreate, err: errors.New("no quota"), status: "FAILED", wantID: createID, reason: "no quota"},
		{name: "create fails half-way", typ: cfn.RequestCreate, id: "new", err: errors.New("no quota"), status: "FAILED", wantID: "new", reason: "no quota"},
		{name: "create panics", typ: cfn.RequestCreate, panics: "secret value", status: "FAILED", wantID: createID, reason: "panicked"}, // case 1
		{name: "update", typ: cfn.RequestUpdate, id: "old-id", status: "SUCCESS", wantID: "old-id"},
		{name: "update without id", typ: cfn.RequestUpdate, status: "SUCCESS", wantID: "old-id"},
		{name: "update replaces", typ: cfn.RequestUpdate, id: "new", status: "SUCCESS", wantID: "new"}, // case 12
		{name: "update fails", typ: cfn.RequestUpdate, err: errors.New("x"), status: "FAILED", wantID: "old-id", reason: "x"},
		{name: "update panics", typ: cfn.RequestUpdate, panics: errors.New("x"), status: "FAILED", wantID: "old-id", reason: "panicked"},
		{name: "delete", typ: cfn.RequestDelete, status: "SUCCESS", wantID: "old-id"},
		{name: "delete with another id", typ: cfn.RequestDelete, id: "new", status: "SUCCESS", wantID: "old-id"},
		{name: "delete fails", typ: cfn.RequestDelete, id: "new", err: errors.New("x"), status: "FAILED", wantID: "old-id", reason: "x"},
		{name: "delete panics", typ: cfn.RequestDelete, panics: nilMap, status: "FAILED", wantID: "old-id", reason: "panicked"},
		{name: "empty error", typ: cfn.RequestCreate, err: errors.New(" "), status: "FAILED", wantID: createID, reason: "without a reason"},
		{name: "not UTF-8", typ: cfn.RequestCreate, err: errors.New("a\xffb"), status: "FAILED", wantID: createID, reason: "a\uFFFDb"},
		{name: "data does not fit", typ: cfn.RequestCreate, id: "new", data: map[string]any{"A": strings.Repeat("x", 4096)}, status: "FAILED", wantID: "new", reason: "CloudFormation takes 4096"}, // case 4
		{name: "data is not JSON", typ: cfn.RequestCreate, id: "new", data: map[string]any{"A": math.NaN()}, status: "FAILED", wantID: "new", reason: "cannot be written as JSON"},
		{name: "id too long", typ: cfn.RequestCreate, id: strings.Repeat("x", 1025), status: "FAILED", wantID: createID, reason: "1025 bytes"},
		{name: "goexit", typ: cfn.RequestCreate, panics: exit{}, status: "FAILED", wantID: createID, reason: "without a result"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logger, log := logTo()
			runs := 0
			sent, reply := newEvent(s, tt.typ)
			h := customresource.Wrap(func(ctx context.Context, e cfn.Event) (string, map[string]any, error) {
				runs++
				if !reflect.DeepEqual(e, sent) {
					t.Errorf("the handler got %+v, want %+v", e, sent)
				}
				switch tt.panics.(type) {
				case nil:
				case exit:
					runtime.Goexit()
				default:
					panic(tt.panics)
				}
				return tt.id, tt.data, tt.err
			}, customresource.Options{Logger: logger, AllowLoopback: true})
			if err := h(t.Context(), marshal(t, sent)); err != nil {
				t.Fatalf("handler = %v; the answer was delivered, so Lambda must not run it again", err)
			}
			res := waitReply(t, reply)
			if res.Status != tt.status || !like(res.PhysicalResourceID, tt.wantID) || !strings.Contains(res.Reason, tt.reason) {
				t.Errorf("got %s %q %q, want %s %q %q", res.Status, res.PhysicalResourceID, res.Reason, tt.status, tt.wantID, tt.reason)
			}
			if strings.Contains(res.Reason, "secret value") {
				t.Errorf("reason shows the panic's value: %q", res.Reason)
			}
			if !res.NoEcho { // case 5
				t.Error("NoEcho is not set")
			}
			if len(res.Data) != 0 && tt.status == "FAILED" || len(res.Data) != len(tt.data) && tt.status == "SUCCESS" {
				t.Errorf("data = %v, want %v", res.Data, tt.data)
			}
			if runs != 1 {
				t.Errorf("the handler ran %d times, want 1", runs)
			}
			checkLog(t, log.String(), reply.URL)
			for _, line := range []string{`"custom resource event"`, `"custom resource answer"`} {
				if got := strings.Count(log.String(), line); got != 1 {
					t.Errorf("%d log lines %s, want 1:\n%s", got, line, log)
				}
			}
		})
	}
}

type exit struct{}

// like compares with a pattern that may end in *.
func like(got, pattern string) bool {
	prefix, star := strings.CutSuffix(pattern, "*")
	return got == pattern || star && strings.HasPrefix(got, prefix)
}

// checkLog finds what signs a reply URL in a text. case 24
func checkLog(t *testing.T, text, replyURL string) {
	t.Helper()
	_, query, _ := strings.Cut(replyURL, "?")
	_, signature, _ := strings.Cut(query, "X-Amz-Signature=")
	signature, _, _ = strings.Cut(signature, "&")
	for _, secret := range []string{query, signature} {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("the signed query shows in %s", text)
		}
	}
}

func TestWrap_sameIDForSameResource(t *testing.T) { // case 6
	s := startServer(t)
	h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { return "", nil, nil },
		customresource.Options{Logger: slog.New(slog.DiscardHandler), AllowLoopback: true})
	id := func(requestID, logicalID string) string {
		e, reply := newEvent(s, cfn.RequestCreate)
		e.RequestID, e.LogicalResourceID = requestID, logicalID
		reply.Expect(e)
		if err := h(t.Context(), marshal(t, e)); err != nil {
			t.Fatal(err)
		}
		return waitReply(t, reply).PhysicalResourceID
	}
	if a, b := id("r1", "A"), id("r2", "A"); a != b {
		t.Errorf("two Creates of one resource got %s and %s", a, b)
	}
	if a, b := id("r1", "A"), id("r1", "B"); a == b {
		t.Errorf("two resources got the same id %s", a)
	}
}

func TestWrap_reasonWithoutURL(t *testing.T) {
	s := startServer(t)
	logger, log := logTo()
	h := customresource.Wrap(func(_ context.Context, e cfn.Event) (string, map[string]any, error) {
		quoted, _ := json.Marshal(e.ResponseURL) // & becomes \u0026
		return "", nil, fmt.Errorf("event %s from %s", quoted, e.ResponseURL)
	}, customresource.Options{Logger: logger, AllowLoopback: true})
	e, reply := newEvent(s, cfn.RequestCreate)
	if err := h(t.Context(), marshal(t, e)); err != nil {
		t.Fatal(err)
	}
	res := waitReply(t, reply)
	checkLog(t, res.Reason, reply.URL)
	checkLog(t, log.String(), reply.URL)
	if !strings.Contains(res.Reason, "[reply URL]") {
		t.Errorf("reason = %q", res.Reason)
	}
}

// The answer stays within 4,096 bytes, is valid, and its reason is a beginning
// of the error's text cut between two runes. case 4
func TestWrap_size(t *testing.T) {
	s := startServer(t)
	alphabet := []string{"a", "é", "日", "😀", "<", "&", "\"", "\\", "\n", "\x01", "\u2028", "\xff", " "}
	r := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	for range 300 {
		var b strings.Builder
		few := alphabet[:1+r.IntN(len(alphabet))]
		for length := r.IntN(9000); b.Len() < length; {
			b.WriteString(few[r.IntN(len(few))])
		}
		text, id := "x"+b.String(), strings.Repeat(few[len(few)-1], r.IntN(1100))
		servers := map[string]any{}
		for i := range r.IntN(50) {
			servers[fmt.Sprint("server", i)] = strings.Repeat(few[0], r.IntN(200))
		}
		var failure error
		if r.IntN(4) > 0 {
			failure = errors.New(text)
		}
		e, reply := newEvent(s, cfn.RequestUpdate)
		e.StackID, e.LogicalResourceID = strings.Repeat("s", 1+r.IntN(512)), strings.Repeat("l", 1+r.IntN(512))
		reply.Expect(e)
		h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { return id, servers, failure },
			customresource.Options{Logger: slog.New(slog.DiscardHandler), AllowLoopback: true})
		if err := h(t.Context(), marshal(t, e)); err != nil {
			t.Fatal(err)
		}
		res := waitReply(t, reply) // the stand-in refuses more than 4,096 bytes
		if failure == nil {
			continue
		}
		want := strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
		got, cut := strings.CutSuffix(res.Reason, "…")
		if res.Reason != want && (!cut || !strings.HasPrefix(want, got) || strings.ContainsRune(got, '\uFFFD') && !strings.ContainsRune(want, '\uFFFD')) {
			t.Fatalf("reason %.60q… is no beginning of %.60q…", res.Reason, want)
		}
		if !cut {
			continue
		}
		cuts++
		if records := s.Records(); len(records[len(records)-1].RequestBody) < 4096-32 {
			t.Errorf("reason cut more than needed: body of %d bytes", len(records[len(records)-1].RequestBody))
		}
	}
	if cuts < 100 {
		t.Errorf("only %d of 300 reasons were cut", cuts)
	}
}

func TestWrap_delivery(t *testing.T) { // case 3
	for _, tt := range []struct {
		name     string
		script   []localaws.Fault
		attempts int
		fails    string // part of the error; empty: delivered
	}{
		{"reset", []localaws.Fault{{Reset: true}}, 2, ""},
		{"stored, then reset", []localaws.Fault{{Reset: true, After: true}}, 2, ""},
		{"500", []localaws.Fault{{Status: 500}}, 2, ""},
		{"503 twice", []localaws.Fault{{Status: 503}, {Status: 503}}, 3, ""},
		{"429", []localaws.Fault{{Status: 429}}, 2, ""},
		{"403", []localaws.Fault{{Status: 403}}, 1, "403"},
		{"400", []localaws.Fault{{Status: 400}}, 1, "400"},
		{"redirect", []localaws.Fault{{Status: 307, Header: http.Header{"Location": {"/elsewhere"}}}}, 1, "307"},
		{"slow", []localaws.Fault{{Delay: time.Hour}}, 2, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t)
			var calls atomic.Int32
			s.SetFault(func(localaws.Record) *localaws.Fault {
				if n := int(calls.Add(1)); n <= len(tt.script) {
					return &tt.script[n-1]
				}
				return nil
			})
			logger, log := logTo()
			runs := 0
			h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { runs++; return "id", nil, nil },
				customresource.Options{Logger: logger, AllowLoopback: true})
			e, reply := newEvent(s, cfn.RequestCreate)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := h(ctx, marshal(t, e))
			if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("handler = %v, want %q", err, tt.fails)
			}
			if got := int(calls.Load()); got != tt.attempts || runs != 1 {
				t.Errorf("%d attempts after %d runs, want %d after 1", got, runs, tt.attempts)
			}
			if tt.fails == "" {
				if res, err := reply.Wait(t.Context()); err != nil || res.Status != cfn.StatusSuccess {
					t.Errorf("answer = %+v, %v", res, err)
				}
			}
			checkLog(t, log.String()+fmt.Sprint(err), reply.URL)
		})
	}
}

// transport is S3 without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func status(code int) *http.Response {
	return &http.Response{StatusCode: code, Body: http.NoBody, Header: http.Header{}}
}

const s3URL = "https://cloudformation-custom-resource-response-eucentral1.s3.eu-central-1.amazonaws.com/key?X-Amz-Signature=sig"

// The answer arrives before Lambda's deadline, whatever the work does. case 2
func TestWrap_deadline(t *testing.T) {
	for _, tt := range []struct {
		name     string
		timeout  time.Duration
		h        customresource.Handler
		earliest time.Duration
		latest   time.Duration
		id       string
		reason   string
	}{
		{"heeds its context", time.Minute, func(ctx context.Context, e cfn.Event) (string, map[string]any, error) {
			<-ctx.Done()
			return "half", nil, fmt.Errorf("waiting for the domain: %w", ctx.Err())
		}, 55 * time.Second, 55 * time.Second, "half", "waiting for the domain"},
		{"ignores its context", time.Minute, func(ctx context.Context, e cfn.Event) (string, map[string]any, error) {
			time.Sleep(2 * time.Minute)
			return "late", nil, nil
		}, 55 * time.Second, 58 * time.Second, createID, "abandoned"},
		{"short timeout", 3 * time.Second, func(ctx context.Context, e cfn.Event) (string, map[string]any, error) {
			time.Sleep(time.Minute)
			return "late", nil, nil
		}, 2 * time.Second, 2500 * time.Millisecond, createID, "abandoned"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var bodies []cfn.Response
				h := customresource.Wrap(tt.h, customresource.Options{
					Logger: slog.New(slog.DiscardHandler), Region: "eu-central-1",
					Transport: transport(func(r *http.Request) (*http.Response, error) {
						var res cfn.Response
						if err := json.NewDecoder(r.Body).Decode(&res); err != nil {
							t.Error(err)
						}
						bodies = append(bodies, res)
						if at := time.Since(start); at < tt.earliest || at > tt.latest {
							t.Errorf("answered after %v, want %v to %v", at, tt.earliest, tt.latest)
						}
						if _, ok := r.Header["Content-Type"]; ok || r.ContentLength <= 0 {
							t.Errorf("content type %q, length %d", r.Header["Content-Type"], r.ContentLength)
						}
						return status(200), nil
					}),
				})
				ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
				defer cancel()
				e, _ := newEvent(localaws.New(localaws.Config{}), cfn.RequestCreate)
				e.ResponseURL = s3URL
				if err := h(ctx, marshal(t, e)); err != nil {
					t.Error(err)
				}
				if ctx.Err() != nil {
					t.Error("returned after Lambda's deadline")
				}
				if len(bodies) != 1 || bodies[0].Status != cfn.StatusFailed || !like(bodies[0].PhysicalResourceID, tt.id) || !strings.Contains(bodies[0].Reason, tt.reason) {
					t.Errorf("answers = %+v, want one FAILED with %q and %q", bodies, tt.id, tt.reason)
				}
				time.Sleep(3 * time.Minute) // until the abandoned work ends; it must not answer
				if len(bodies) != 1 {
					t.Errorf("%d answers in the end, want 1", len(bodies))
				}
			})
		})
	}
}

// Retries end with the time there is, or after a few.
func TestWrap_retriesEnd(t *testing.T) {
	hang := transport(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	broken := transport(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
	for name, rt := range map[string]transport{"hang": hang, "broken": broken} {
		for _, timeout := range []time.Duration{0, 3 * time.Second, 15 * time.Minute} {
			t.Run(fmt.Sprint(name, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					attempts, start := 0, time.Now()
					h := customresource.Wrap(func(context.Context, cfn.Event) (string, map[string]any, error) { return "id", nil, nil },
						customresource.Options{Logger: slog.New(slog.DiscardHandler), Transport: transport(func(r *http.Request) (*http.Response, error) {
							attempts++
							return rt(r)
						})})
					ctx := t.Context()
					if timeout > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, timeout)
						defer cancel()
					}
					e, _ := newEvent(localaws.New(localaws.Config{}), cfn.RequestCreate)
					e.ResponseURL = s3URL
					err := h(ctx, marshal(t, e))
					if err == nil || strings.Contains(err.Error(), "sig") || ctx.Err() != nil {
						t.Errorf("handler = %v after %v", err, time.Since(start))
					}
					if attempts < 2 || attempts > 6 || time.Since(start) > 2*time.Minute {
						t.Errorf("%d attempts in %v", attempts, time.Since(start))
					}
				})
			})
		}
	}
}

// An answer is owed also when the caller's context was cancelled.
func TestWrap_cancelled(t *testing.T) {
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	h := customresource.Wrap(func(ctx context.Context, _ cfn.Event) (string, map[string]any, error) {
		cancel()
		<-ctx.Done()
		return "", nil, ctx.Err()
	}, customresource.Options{Logger: slog.New(slog.DiscardHandler), AllowLoopback: true})
	e, reply := newEvent(s, cfn.RequestCreate)
	if err := h(ctx, marshal(t, e)); err != nil {
		t.Fatal(err)
	}
	if res := waitReply(t, reply); res.Status != cfn.StatusFailed {
		t.Errorf("answer = %+v, want FAILED", res)
	}
}
