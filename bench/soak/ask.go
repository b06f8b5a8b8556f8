package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/localaws"
	"agentcore-mcp-auth/pkg/trigger"
)

// The ways to ask, and their shares of a hundred questions.
const (
	byLambda = "lambda"
	byQueue  = "queue"
	byBus    = "bus"
	byHTTP   = "agentcore"
	byStream = "agentcore, streamed"
)

var ways = []struct {
	name  string
	share int
}{{byLambda, 15}, {byQueue, 20}, {byBus, 10}, {byHTTP, 40}, {byStream, 15}}

// How Lambda and SQS handle failures. In an account the times are longer: the
// template's visibility timeout is twelve minutes.
const (
	functionTime = 20 * time.Second
	againAfter   = functionTime + 5*time.Second // the record of a killed process is locked until the function's timeout
	queueTries   = 5                            // the template's maxReceiveCount
	eventTries   = 3                            // the template's MaximumRetryAttempts, and the first one
)

// question is a sum and its exact answer.
type question struct {
	id, way      string
	prompt, want string
	asked        time.Time
}

// askers ask questions and report the outcomes to the ledger.
type askers struct {
	stack        *stack
	ledger       *ledger
	rand         *rand.Rand
	environments chan *localaws.Function // the free ones
	end          time.Time

	open  sync.WaitGroup // questions without an outcome
	mu    sync.Mutex     // guards queue
	queue []*message
}

// message is a question in the queue.
type message struct {
	question
	visible  time.Time
	received int
}

// run asks at fixed times until ctx ends. A question that is asked late because
// this process was busy counts from the time when it was due.
func (a *askers) run(ctx context.Context, rate float64) {
	var polling sync.WaitGroup
	polling.Go(func() { a.poll(ctx) })
	defer polling.Wait()
	start := time.Now()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		q := a.question(due)
		a.ledger.ask(q)
		a.open.Add(1)
		switch q.way {
		case byQueue:
			a.mu.Lock()
			a.queue = append(a.queue, &message{question: q})
			a.mu.Unlock()
		case byLambda:
			go a.direct(q)
		case byBus:
			go a.event(q)
		default:
			go a.http(q)
		}
	}
}

// wait waits for all outcomes, or until ctx ends.
func (a *askers) wait(ctx context.Context) {
	ctx, cancel := context.WithDeadline(ctx, a.end)
	defer cancel()
	polling, stop := context.WithCancel(ctx)
	go a.poll(polling)
	done := make(chan struct{})
	go func() { a.open.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	stop()
}

func (a *askers) question(due time.Time) question {
	n := a.rand.IntN(100)
	i := 0
	for ; n >= ways[i].share; i++ {
		n -= ways[i].share
	}
	x, y, z := a.number(), a.number(), a.number()
	q := question{id: uuid.NewString(), way: ways[i].name, asked: due}
	sum := new(big.Int).Add(x, y)
	if a.rand.IntN(4) > 0 {
		q.prompt = fmt.Sprintf("What is %d+%d?", x, y)
		q.want = fmt.Sprintf("The sum of %d + %d = %d.", x, y, sum)
	} else { // two tool calls, one after the other
		q.prompt = fmt.Sprintf("What is (%d+%d)*%d?", x, y, z)
		q.want = fmt.Sprintf("(%d+%d)*%d = %d.", x, y, z, sum.Mul(sum, z))
	}
	return q
}

// number returns a random number of up to thirty digits, so that no two
// questions are alike.
func (a *askers) number() *big.Int {
	n, _ := new(big.Int).SetString(strconv.FormatUint(a.rand.Uint64()>>1+1, 10)+strconv.FormatUint(a.rand.Uint64()>>30, 10), 10)
	return n
}

func (q question) body() []byte {
	b, _ := json.Marshal(map[string]string{"prompt": q.prompt, "session_id": q.id})
	return b
}

// invoke runs an event in the next free environment.
func (a *askers) invoke(event []byte) (localaws.Result, error) {
	f := <-a.environments
	defer func() { a.environments <- f }()
	return f.Invoke(context.Background(), event)
}

// direct invokes a function and waits for it.
func (a *askers) direct(q question) {
	defer a.open.Done()
	res, err := a.invoke(q.body())
	switch {
	case err != nil:
		a.ledger.failed(q, "invoke: "+err.Error())
	case res.FunctionError != "":
		a.ledger.failed(q, res.ErrorType)
	default:
		a.ledger.answered(q, res.Payload)
	}
}

// event sends an event of a bus. Like Lambda it retries failures and then makes
// the event a dead letter. The result is published on the bus.
func (a *askers) event(q question) {
	defer a.open.Done()
	event, _ := json.Marshal(events.CloudWatchEvent{
		Version: "0", ID: q.id, DetailType: "Agent Ask", Source: "soak", AccountID: localaws.Account, Time: q.asked.UTC(),
		Region: "eu-central-1", Resources: []string{}, Detail: q.body(),
	})
	for try := 1; try <= eventTries; try++ {
		if res, err := a.invoke(event); err == nil && res.FunctionError == "" {
			a.ledger.done(q)
			return
		}
		if try < eventTries {
			time.Sleep(againAfter)
		}
	}
	a.ledger.failed(q, deadLetter)
}

// poll takes messages from the queue, like an event source mapping.
func (a *askers) poll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
		for batch := a.receive(); len(batch) > 0; batch = a.receive() {
			go a.deliver(batch)
		}
	}
}

// receive takes up to ten visible messages.
func (a *askers) receive() []*message {
	a.mu.Lock()
	defer a.mu.Unlock()
	var batch, rest []*message
	for _, m := range a.queue {
		if len(batch) < 10 && !time.Now().Before(m.visible) {
			m.received++
			batch = append(batch, m)
		} else {
			rest = append(rest, m)
		}
	}
	a.queue = rest
	return batch
}

// deliver runs a batch. It deletes the messages that the function does not
// report as failed; the others come again.
func (a *askers) deliver(batch []*message) {
	var event events.SQSEvent
	failed := map[string]bool{}
	for _, m := range batch {
		failed[m.id] = true
		event.Records = append(event.Records, events.SQSMessage{
			MessageId: m.id, ReceiptHandle: m.id, Body: string(m.body()), EventSource: "aws:sqs", AWSRegion: "eu-central-1",
			EventSourceARN: "arn:aws:sqs:eu-central-1:" + localaws.Account + ":soak",
			Attributes:     map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.received)},
		})
	}
	payload, _ := json.Marshal(event)
	var answer *events.SQSEventResponse
	if res, err := a.invoke(payload); err == nil && res.FunctionError == "" && json.Unmarshal(res.Payload, &answer) == nil && answer != nil {
		named := map[string]bool{}
		for _, f := range answer.BatchItemFailures {
			if !failed[f.ItemIdentifier] { // an unknown id: Lambda treats the whole batch as failed
				a.ledger.strange("the answer to a batch names " + f.ItemIdentifier + ", which is not in it")
			}
			named[f.ItemIdentifier] = true
		}
		failed = named
	}
	for _, m := range batch {
		switch {
		case !failed[m.id]:
			a.ledger.done(m.question)
			a.open.Done()
		case m.received == queueTries:
			a.ledger.failed(m.question, deadLetter)
			a.open.Done()
		default:
			m.visible = time.Now().Add(againAfter)
			a.mu.Lock()
			a.queue = append(a.queue, m)
			a.mu.Unlock()
		}
	}
}

// caller is the client of the agent on AgentCore.
var caller = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

// http asks the agent on AgentCore for a JSON answer or a stream.
func (a *askers) http(q question) {
	defer a.open.Done()
	payload, code, err := a.post(q)
	switch {
	case err != nil:
		a.ledger.failed(q, err.Error())
	case code != "":
		a.ledger.failed(q, code)
	default:
		a.ledger.answered(q, payload)
	}
}

func (a *askers) post(q question) (answer []byte, code string, err error) {
	arn := strings.NewReplacer(":", "%3A", "/", "%2F").Replace(a.stack.resource("AgentRuntime", "AgentRuntimeArn"))
	body := q.body()
	req, err := http.NewRequest(http.MethodPost, a.stack.aws.URL()+"/runtimes/"+arn+"/invocations", bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if q.way == byStream {
		req.Header.Set("Accept", "text/event-stream")
	}
	req.Header.Set(agentcore.HeaderRuntimeSession, q.id)
	cfg := a.stack.aws.AWSConfig()
	creds, err := cfg.Credentials.Retrieve(req.Context())
	if err != nil {
		return nil, "", err
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(req.Context(), creds, req, hex.EncodeToString(hash[:]), "bedrock-agentcore", cfg.Region, time.Now()); err != nil {
		return nil, "", err
	}
	resp, err := caller.Do(req)
	if err != nil {
		return nil, "", fmt.Errorf("asking: %w", err)
	}
	defer resp.Body.Close()
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/event-stream" {
		return last(resp.Body)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", fmt.Errorf("reading an answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return text, "", nil
	}
	return nil, errorCode(text), nil
}

// last returns the last event of a stream: the answer, or an error.
func last(r io.Reader) (answer []byte, code string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	event := ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			event = value
		case field == "data" && event == "done":
			return []byte(value), "", nil
		case field == "data" && event == "error":
			return nil, errorCode([]byte(value)), nil
		}
	}
	return nil, "", fmt.Errorf("the stream broke off: %w", lines.Err())
}

// errorCode returns the code in an error document, or else the type of
// AgentCore's own error, or else the document.
func errorCode(text []byte) string {
	var doc struct {
		Error trigger.Error
		Type  string `json:"__type"`
	}
	if json.Unmarshal(text, &doc) == nil && cmp.Or(string(doc.Error.Code), doc.Type) != "" {
		return cmp.Or(string(doc.Error.Code), doc.Type)
	}
	return fmt.Sprintf("%.200s", text)
}
