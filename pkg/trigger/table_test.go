package trigger_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

const ledgerTable = "ledger"

// newTable is a ledger in a table of s. It needs no connection where s has not
// been started, so that a test can have its own clock.
func newTable(t testing.TB, s *localaws.Server) *trigger.Table {
	t.Helper()
	arn, err := s.AddTable(localaws.Table{Name: ledgerTable, HashKey: "id", TTLAttribute: "expires"})
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.AWSConfig()
	if s.URL() == "" {
		cfg.BaseEndpoint, cfg.HTTPClient = aws.String("http://localaws"), inProcess{s}
	}
	return &trigger.Table{API: dynamodb.NewFromConfig(cfg), Name: arn}
}

func started(t testing.TB) *localaws.Server {
	t.Helper()
	s := localaws.New(localaws.Config{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// inProcess serves requests without a connection.
type inProcess struct{ http.Handler }

func (p inProcess) Do(req *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil { // the connection would be cut
			err = io.ErrUnexpectedEOF
		}
	}()
	in := req.Clone(req.Context())
	in.Host = req.URL.Host
	w := httptest.NewRecorder()
	p.ServeHTTP(w, in)
	return w.Result(), nil
}

// operations are those that reached the tables of s.
func operations(s *localaws.Server) string {
	var ops []string
	for _, r := range s.Records() {
		if r.Service == "dynamodb" {
			ops = append(ops, r.Operation)
		}
	}
	return strings.Join(ops, " ")
}

// case 97: over HTTP, one write begins a record and one ends it.
func TestTable(t *testing.T) {
	s := started(t)
	table := newTable(t, s)
	table.Name = ledgerTable // the name is as good as the ARN
	until := time.Now().Add(time.Minute)
	claim, got, err := table.Begin(t.Context(), "k", [32]byte{1}, until)
	if err != nil || got != nil || claim == "" {
		t.Fatalf("got %q, %q, %v", claim, got, err)
	}
	if _, _, err := table.Begin(t.Context(), "k", [32]byte{1}, until); !errors.Is(err, trigger.ErrRunning) {
		t.Errorf("under way: got %v", err)
	}
	if _, _, err := table.Begin(t.Context(), "k", [32]byte{2}, until); !errors.Is(err, trigger.ErrAltered) {
		t.Errorf("altered: got %v", err)
	}
	if err := table.End(t.Context(), "k", "another's", []byte("x")); err == nil {
		t.Error("one who does not have the key could end it")
	}
	if err := table.End(t.Context(), "other", claim, []byte("x")); err == nil {
		t.Error("a record that never began could be ended")
	}
	if err := table.End(t.Context(), "k", claim, []byte("out")); err != nil {
		t.Error(err)
	}
	again, got, err := table.Begin(t.Context(), "k", [32]byte{1}, until)
	if err != nil || again != claim || string(got) != "out" {
		t.Errorf("done: got %q, %q, %v", again, got, err)
	}
	if want := "PutItem PutItem PutItem UpdateItem UpdateItem UpdateItem PutItem"; operations(s) != want {
		t.Errorf("got %s, want %s", operations(s), want)
	}

	long := strings.Repeat("x", 5000)
	if _, _, err := table.Begin(t.Context(), long+"1", [32]byte{1}, until); err != nil {
		t.Errorf("a long key: %v", err)
	}
	if _, got, err := table.Begin(t.Context(), long+"2", [32]byte{1}, until); err != nil || got != nil {
		t.Errorf("another long key: got %q, %v", got, err)
	}
	if _, _, err := table.Begin(t.Context(), long+"1", [32]byte{1}, until); !errors.Is(err, trigger.ErrRunning) {
		t.Errorf("the first long key again: %v", err)
	}

	_, err = table.API.(*dynamodb.Client).PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: aws.String(ledgerTable), Item: map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: "foreign"}, "lease": &types.AttributeValueMemberS{Value: "x"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := table.Begin(t.Context(), "foreign", [32]byte{1}, until); err == nil || !strings.Contains(err.Error(), "not of this ledger") {
		t.Errorf("an item of somebody else: got %v", err)
	}
}

// case 97: claims and outcomes last for their time, although DynamoDB deletes
// nothing.
func TestTable_time(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(t, localaws.New(localaws.Config{}))
		table.Keep = time.Hour
		begin := func(content byte) (string, string) {
			claim, got, err := table.Begin(t.Context(), "k", [32]byte{content}, time.Now().Add(time.Minute))
			if err != nil {
				return claim, err.Error()
			}
			return claim, string(got)
		}
		crashed, _ := begin(1)
		time.Sleep(time.Minute)
		if _, got := begin(1); got != trigger.ErrRunning.Error() {
			t.Errorf("at the end of its time: got %q", got)
		}
		time.Sleep(time.Millisecond)
		second, got := begin(1)
		if got != "" {
			t.Errorf("after its time: got %q", got)
		}
		if err := table.End(t.Context(), "k", crashed, []byte("late")); err == nil {
			t.Error("the first one could end it after its time")
		}
		if err := table.End(t.Context(), "k", second, nil); err != nil {
			t.Error(err)
		}
		third, got := begin(2) // given back, it is anybody's
		if got != "" {
			t.Errorf("given back: got %q", got)
		}
		if err := table.End(t.Context(), "k", third, []byte("out")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if _, got := begin(2); got != "out" {
			t.Errorf("at the end of an outcome's time: got %q", got)
		}
		time.Sleep(time.Second)
		if _, got := begin(1); got != "" {
			t.Errorf("expired: got %q", got)
		}
	})
}

// case 97: an answer that was lost on the way does not lock out who it was for.
func TestTable_written(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := localaws.New(localaws.Config{})
		table := newTable(t, s)
		lost := map[string]bool{}
		s.SetFault(func(r localaws.Record) *localaws.Fault {
			if lost[r.Operation] {
				return nil
			}
			lost[r.Operation] = true
			return &localaws.Fault{Reset: true, After: true}
		})
		claim, got, err := table.Begin(t.Context(), "k", [32]byte{}, time.Now().Add(time.Minute))
		if err != nil || got != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		if err := table.End(t.Context(), "k", claim, []byte("out")); err != nil {
			t.Error(err)
		}
		if got, want := operations(s), "PutItem PutItem UpdateItem UpdateItem"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// case 97: of an answer that no item holds, that it was given is kept.
func TestTable_tooLarge(t *testing.T) {
	for _, published := range []bool{true, false} {
		s := started(t)
		asked := 0
		h, log := newHandler(agentFunc(func(context.Context, trigger.Request) (trigger.Answer, error) {
			asked++
			return trigger.Answer{Output: strings.Repeat("x", 400<<10)}, nil
		}))
		bus := &memoryBus{}
		if !published {
			bus.refuse = func(eventtypes.PutEventsRequestEntry) string { return "AccessDeniedException" }
		}
		h.Results, h.Ledger = &trigger.Bus{API: bus, Name: "results"}, newTable(t, s)
		invoke(t, h, sample(t, "eventbridge.json"))
		out, err := invoke(t, h, sample(t, "eventbridge.json"))
		if published && (err != nil || asked != 1 || !strings.Contains(out, `"ignored":"it was answered before`) || len(bus.got) != 1) {
			t.Errorf("got %.200s, %v; asked %d times, published %d results", out, err, asked, len(bus.got))
		}
		if !published && (err == nil || asked != 2) {
			t.Errorf("not published: got %.200s, %v; asked %d times", out, err, asked)
		}
		if strings.Contains(log.String(), "took no result") {
			t.Errorf("logged %s", log)
		}
	}
}

// case 97: without its ledger nothing is answered, and all is left to its source.
func TestTable_unreachable(t *testing.T) {
	for name, fault := range map[string]localaws.Fault{
		"throttled": {Status: http.StatusBadRequest, Type: "ProvisionedThroughputExceededException"},
		"refused":   {Status: http.StatusBadRequest, Type: "AccessDeniedException"},
		"broken":    {Status: http.StatusInternalServerError, Type: "InternalServerError"},
		"cut off":   {Reset: true},
		"silent":    {Delay: time.Hour},
		"no table":  {},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := localaws.New(localaws.Config{})
			agent := &recording{}
			h, log := newHandler(agent)
			h.Ledger = newTable(t, s)
			if name == "no table" {
				s.RemoveTable(ledgerTable)
			}
			s.SetFault(func(localaws.Record) *localaws.Fault { return &fault })
			out, err := invoke(t, h, batch("one", "two"))
			if err != nil || fmt.Sprint(failures(t, out)) != "[m0 m1]" || len(agent.prompts()) > 0 {
				t.Errorf("%s: got %s, %v; asked %q", name, out, err, agent.prompts())
			}
			if !strings.Contains(log.String(), "claiming a record in the DynamoDB table arn:") {
				t.Errorf("%s: the log does not say why: %s", name, log)
			}
		})
	}
}

// A ledger that goes down while a record is answered costs no answer.
func TestTable_endFails(t *testing.T) {
	s := started(t)
	h, log := newHandler(&recording{})
	h.Results, h.Ledger = &trigger.Bus{API: &memoryBus{}, Name: "results"}, newTable(t, s)
	s.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Operation == "UpdateItem" {
			return &localaws.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException"}
		}
		return nil
	})
	out, err := invoke(t, h, batch("one", "two"))
	if err != nil || len(failures(t, out)) > 0 || strings.Count(log.String(), "the ledger took no result") != 2 {
		t.Errorf("got %s, %v; logged %s", out, err, log)
	}
}
