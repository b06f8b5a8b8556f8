package main_test

import (
	"bytes"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"agentcore-mcp-auth/pkg/localaws"
)

// shared are two processes of the agent with one ledger and one bus.
type shared struct {
	*world
	one, two *localaws.Function
}

func newShared(t *testing.T) *shared {
	t.Helper()
	w := newWorld(t)
	w.aws.AddEventBus("results")
	arn, err := w.aws.AddTable(localaws.Table{Name: "ledger", HashKey: "id", TTLAttribute: "expires"})
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"LEDGER_TABLE": "ledger", "RESULT_BUS": "results", "MCP_SERVERS": ""}
	s := &shared{world: w, one: w.agentNamed(t, "one", env)}
	env["LEDGER_TABLE"] = arn
	s.two = w.agentNamed(t, "two", env)
	return s
}

func (s *shared) invoke(t *testing.T, f *localaws.Function, event []byte) localaws.Result {
	t.Helper()
	res, err := f.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// count returns the number of requests of an operation after the first n.
func (s *shared) count(n int, operation string) int {
	c := 0
	for _, op := range s.since(n) {
		if op == operation {
			c++
		}
	}
	return c
}

// set changes a number of an item.
func (s *shared) set(t *testing.T, id, name, value string) {
	t.Helper()
	_, err := dynamodb.NewFromConfig(s.aws.AWSConfig()).UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
		TableName:                 aws.String("ledger"),
		Key:                       map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}},
		ConditionExpression:       aws.String("attribute_exists(#n)"),
		UpdateExpression:          aws.String("SET #n = :v"),
		ExpressionAttributeNames:  map[string]string{"#n": name},
		ExpressionAttributeValues: map[string]types.AttributeValue{":v": &types.AttributeValueMemberN{Value: value}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left reports whether a source would deliver all of an event again.
func left(res localaws.Result, records int) bool {
	return res.FunctionError != "" || strings.Count(string(res.Payload), "itemIdentifier") == records
}

// case 97: a record that comes to two processes, at once and once more, is
// answered once.
func TestLedger_twoProcesses(t *testing.T) {
	s := newShared(t)
	for _, tt := range []struct {
		name    string
		records int
		begun   int // at once: the second message of a FIFO group waits for the first
	}{{"sqs.json", 2, 2}, {"sqs-fifo.json", 2, 1}, {"eventbridge.json", 1, 1}, {"sns.json", 1, 1}} {
		name, records, event := tt.name, tt.records, sample(t, tt.name)
		n, published := len(s.aws.Records()), len(s.aws.Events())
		asked, answer := make(chan struct{}, 10), make(chan struct{})
		s.aws.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
			asked <- struct{}{}
			<-answer
			return localaws.Say("yes")
		})
		var first localaws.Result
		var wg sync.WaitGroup
		wg.Go(func() { first = s.invoke(t, s.one, event) })
		for range tt.begun {
			<-asked
		}
		if res := s.invoke(t, s.two, event); !left(res, records) {
			t.Errorf("%s: at once: got %s, want it left to its source", name, res.Payload)
		}
		close(answer)
		wg.Wait()
		second := s.invoke(t, s.two, event)
		if first.FunctionError != "" || left(first, records) || !bytes.Equal(first.Payload, second.Payload) {
			t.Errorf("%s: got %s and then %s", name, first.Payload, second.Payload)
		}
		if got := s.count(n, "bedrock/Converse"); got != records {
			t.Errorf("%s: the model was asked %d times, want %d", name, got, records)
		}
		if got := len(s.aws.Events()) - published; got != records {
			t.Errorf("%s: %d results were published, want %d", name, got, records)
		}
	}
	s.scanForSecrets(t, nil)
}

// A record costs two writes to the ledger. A request whose caller waits costs
// none.
func TestLedger_cost(t *testing.T) {
	s := newShared(t)
	for _, tt := range []struct {
		event         string
		puts, updates int
	}{{"ask.json", 0, 0}, {"function-url.json", 0, 0}, {"http-api.json", 0, 0}, {"rest-api.json", 0, 0}, {"sqs.json", 2, 2}, {"sns.json", 1, 1}, {"sns.json", 1, 0}} {
		n := len(s.aws.Records())
		if res := s.invoke(t, s.one, sample(t, tt.event)); res.FunctionError != "" {
			t.Errorf("%s: got %s", tt.event, res.Payload)
		}
		if puts, updates := s.count(n, "dynamodb/PutItem"), s.count(n, "dynamodb/UpdateItem"); puts != tt.puts || updates != tt.updates {
			t.Errorf("%s: %d PutItem, %d UpdateItem, want %d and %d", tt.event, puts, updates, tt.puts, tt.updates)
		}
	}
}

// case 97: a process that dies during a model call holds its record for as long
// as it could have lived, and no longer.
func TestLedger_crash(t *testing.T) {
	s := newShared(t)
	event := sample(t, "eventbridge.json")
	s.invoke(t, s.one, []byte(`{"prompt":"hello"}`))
	pid, err := s.one.PID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	s.aws.SetModel(func(localaws.ConverseRequest) localaws.ConverseReply {
		once.Do(func() { process.Kill() })
		return localaws.Say("yes")
	})
	if res := s.invoke(t, s.one, event); res.FunctionError == "" {
		t.Fatalf("got %s of a process that was killed", res.Payload)
	}
	for _, f := range []*localaws.Function{s.one, s.two} {
		if res := s.invoke(t, f, event); res.ErrorType != "deadline_exceeded" {
			t.Errorf("while it might live: got %s", res.Payload)
		}
	}
	s.set(t, s.itemID(t), "lease", "1") // its time is over
	if res := s.invoke(t, s.two, event); !strings.Contains(string(res.Payload), `"output":"yes"`) {
		t.Errorf("after its time: got %s", res.Payload)
	}
	if got := len(s.aws.Events()); got != 1 {
		t.Errorf("%d results were published", got)
	}
}

// itemID returns the id of the item that was written last.
func (s *shared) itemID(t *testing.T) string {
	t.Helper()
	records := s.aws.Records()
	for _, r := range slices.Backward(records) {
		if r.Operation == "PutItem" {
			_, rest, _ := strings.Cut(string(r.RequestBody), `"id":{"S":"`)
			id, _, ok := strings.Cut(rest, `"`)
			if ok {
				return id
			}
		}
	}
	t.Fatal("nothing was written")
	return ""
}

// case 97: a known id with other content is not answered, from any source.
func TestLedger_tampered(t *testing.T) {
	s := newShared(t)
	event := sample(t, "eventbridge.json")
	s.invoke(t, s.one, event)
	n := len(s.aws.Records())
	res := s.invoke(t, s.two, replace(t, event, "What is 2+2?", "greet Mallory"))
	if !strings.Contains(string(res.Payload), `"code":"invalid_request"`) || s.count(n, "bedrock/Converse") > 0 {
		t.Errorf("got %s", res.Payload)
	}
	var published []string
	for _, e := range s.aws.Events() {
		published = append(published, e.DetailType)
	}
	if !slices.Equal(published, []string{"Agent Answered", "Agent Failed"}) {
		t.Errorf("published %q", published)
	}
}

// case 97: if the ledger cannot be reached, every record stays with its source.
func TestLedger_unreachable(t *testing.T) {
	s := newShared(t)
	s.aws.SetFault(func(r localaws.Record) *localaws.Fault {
		if r.Service == "dynamodb" {
			return &localaws.Fault{Status: http.StatusBadRequest, Type: "AccessDeniedException"}
		}
		return nil
	})
	n := len(s.aws.Records())
	for name, records := range map[string]int{"sqs.json": 2, "sqs-fifo.json": 2, "eventbridge.json": 1, "sns.json": 1} {
		if res := s.invoke(t, s.one, sample(t, name)); !left(res, records) {
			t.Errorf("%s: got %s", name, res.Payload)
		}
	}
	if s.count(n, "bedrock/Converse") > 0 || len(s.aws.Events()) > 0 {
		t.Error("something was answered")
	}
	s.aws.SetFault(nil)
	if res := s.invoke(t, s.one, sample(t, "sqs.json")); left(res, 2) || len(s.aws.Events()) != 2 {
		t.Errorf("once it is up: got %s, %d results", res.Payload, len(s.aws.Events()))
	}
}

// case 97: an expired record is answered again, even though its item still
// exists.
func TestLedger_expired(t *testing.T) {
	s := newShared(t)
	event := sample(t, "eventbridge.json")
	s.invoke(t, s.one, event)
	s.set(t, s.itemID(t), "expires", "1")
	s.invoke(t, s.two, event)
	if got := len(s.aws.Events()); got != 2 {
		t.Errorf("%d results were published, want it answered again", got)
	}
	s.invoke(t, s.one, event)
	if got := len(s.aws.Events()); got != 2 {
		t.Errorf("%d results were published, want no third", got)
	}
}

// case 107: an impossible table name is refused before it is used.
func TestLedger_badName(t *testing.T) {
	w := newWorld(t)
	env := map[string]string{"LEDGER_TABLE": "my ledger"}
	for name, f := range map[string]*localaws.Function{"name": w.agentNamed(t, "a", env), "ARN": w.agentNamed(t, "b", with(env, "LEDGER_TABLE", "arn:aws:s3:::ledger"))} {
		n := len(w.aws.Records())
		if _, res := ask(t, f, `{"prompt":"hi"}`); res.ErrorType != "configuration_error" || !strings.Contains(res.ErrorMessage, "LEDGER_TABLE") {
			t.Errorf("%s: got %s", name, res.Payload)
		}
		if ops := w.since(n); len(ops) > 0 {
			t.Errorf("%s: it took %q", name, ops)
		}
	}
}

func with(env map[string]string, name, value string) map[string]string {
	env = maps.Clone(env)
	env[name] = value
	return env
}
