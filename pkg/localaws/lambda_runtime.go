package localaws

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// Why the reader of an answer stopped reading.
var (
	errAbandoned = errors.New("the caller left")
	errTooLarge  = errors.New("the answer is too large")
)

// invocation is one event that a process works on. Its answer is a pipe. The
// first of these closes the writing end: the process's answer, its exit, or the
// deadline.
type invocation struct {
	id, arn, trace string
	payload        []byte
	deadline       time.Time
	init           time.Duration
	taken          bool // the process has begun to answer; guarded by its mutex

	body        *io.PipeReader
	pipe        *io.PipeWriter
	answering   chan struct{} // closed once contentType or failed is known
	begun       sync.Once
	contentType string
	failed      error
	done        chan struct{} // closed once the process has answered
}

// begin announces the start of the answer, or a failure.
func (inv *invocation) begin(contentType string, failed error) {
	inv.begun.Do(func() {
		inv.contentType, inv.failed = contentType, failed
		close(inv.answering)
	})
}

// fail ends an invocation unless it has ended.
func (inv *invocation) fail(err error) {
	inv.begin("", err)
	inv.pipe.CloseWithError(err)
}

// begin gives payload to the function's process as the request id, and returns
// once the process works on it. It starts a process if none runs.
func (f *Function) begin(ctx context.Context, id string, payload []byte) (*invocation, error) {
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if len(payload) > maxSyncPayload {
		return nil, fmt.Errorf("invoking function %s: an event of %d bytes; Lambda takes %d", f.cfg.Name, len(payload), maxSyncPayload)
	}
	if !json.Valid(payload) {
		return nil, fmt.Errorf("invoking function %s: the event is not JSON", f.cfg.Name)
	}
	if err := f.acquire(ctx); err != nil {
		return nil, err
	}
	inv := &invocation{
		id: id, arn: f.ARN(), trace: traceID(f.s.cfg.Now()),
		payload:   payload,
		answering: make(chan struct{}), done: make(chan struct{}),
	}
	inv.body, inv.pipe = io.Pipe()
	// The process belongs to the function, not to this caller: from here on only
	// the function's limits apply.
	go f.run(inv)
	return inv, nil
}

// run waits for the end of one invocation and releases the slot.
func (f *Function) run(inv *invocation) {
	defer func() { <-f.slot }()
	if f.proc != nil && f.proc.ended() {
		f.proc, f.frozen = nil, false
	}
	if err := f.thaw(); err != nil {
		inv.fail(err)
		return
	}
	if f.proc == nil {
		if err := f.startProcess(inv); err != nil {
			inv.fail(err)
			return
		}
	}
	p := f.proc
	if inv.deadline.IsZero() {
		inv.deadline = time.Now().Add(f.cfg.Timeout)
	}
	timer := time.NewTimer(time.Until(inv.deadline))
	defer timer.Stop()

	next := p.next
	for answered := false; !answered; {
		select {
		case next <- inv:
			next = nil
		case <-inv.done:
			answered = true
		case <-p.exited:
			inv.fail(newInvokeError(inv.id, "Runtime.ExitError", p.exitReason()))
			answered = true
		case <-timer.C:
			p.kill()
			inv.fail(newInvokeError(inv.id, "Sandbox.Timedout",
				fmt.Sprintf("Task timed out after %.2f seconds", f.cfg.Timeout.Seconds())))
			answered = true
		case <-f.closed: // Close ends the process
			inv.fail(errFunctionClosed)
			return
		}
	}
	// The environment is free for the next event once the process asks for it.
	select {
	case <-p.idle:
		return
	case <-p.exited:
	case <-timer.C:
		p.kill()
	case <-f.closed:
		return
	}
	f.proc = nil
}

// startProcess runs the Init phase. If that fails, it runs it once more within
// the invocation and its timeout, as Lambda does.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
func (f *Function) startProcess(inv *invocation) error {
	limit := maxInit
	for attempt := 1; ; attempt++ {
		begin := time.Now()
		if attempt == 2 {
			inv.deadline = begin.Add(f.cfg.Timeout)
			limit = f.cfg.Timeout
		}
		p, err := f.spawn()
		if err != nil {
			return err
		}
		var failed *InvokeError
		timer := time.NewTimer(limit)
		select {
		case <-p.idle:
			inv.init = time.Since(begin)
			f.proc = p
			timer.Stop()
			return nil
		case <-p.exited:
			failed = newInvokeError(inv.id, "Runtime.ExitError", p.exitReason())
			if doc := p.initFailure(); doc != nil {
				failed = doc
			}
		case <-timer.C:
			failed = newInvokeError(inv.id, "Sandbox.Timedout",
				fmt.Sprintf("Task timed out after %.2f seconds", limit.Seconds()))
		case <-f.closed:
			p.kill()
			timer.Stop()
			return errFunctionClosed
		}
		timer.Stop()
		p.kill()
		if attempt == 2 {
			return failed
		}
	}
}

// process is one running bootstrap with a runtime API of its own, on its own
// loopback port. If the bootstrap outlives this program, it finds the port
// closed and exits.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type process struct {
	cmd    *exec.Cmd
	api    *http.Server
	next   chan *invocation // from the function to the process's GET next
	idle   chan struct{}    // one value for each GET next
	exited chan struct{}    // closed once the process has been waited for

	mu         sync.Mutex // guards what follows
	polling    bool
	current    *invocation  // handed out and not yet answered
	initError  *InvokeError // what the process reported about its Init phase
	extensions int          // registered internal extensions
}

func (f *Function) spawn() (*process, error) {
	l, err := listenLoopback("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the runtime API: %w", err)
	}
	p := &process{next: make(chan *invocation), idle: make(chan struct{}, 1), exited: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", p.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", p.serveResponse)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", p.serveError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", p.serveInitError)
	mux.HandleFunc("POST /2020-01-01/extension/register", p.serveRegister)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", p.serveExtensionNext)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeRuntimeError(w, http.StatusNotFound, "Runtime.UnknownOperation",
			fmt.Sprintf("localaws does not implement %s %s of the Lambda runtime API", r.Method, r.URL.Path))
	})
	p.api = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	p.cmd = exec.Command(f.cfg.Binary)
	p.cmd.Dir = filepath.Dir(f.cfg.Binary)
	p.cmd.Env = append(f.env[:len(f.env):len(f.env)], "AWS_LAMBDA_RUNTIME_API="+l.Addr().String())
	p.cmd.Stdout, p.cmd.Stderr = f.cfg.Stderr, f.cfg.Stderr
	p.cmd.WaitDelay = time.Second // for children that inherited its output
	if err := p.cmd.Start(); err != nil {
		l.Close()
		return nil, fmt.Errorf("starting %s: %w", f.cfg.Binary, err)
	}
	go p.api.Serve(l)
	go func() {
		p.cmd.Wait() // its error is in ProcessState
		close(p.exited)
		p.api.Close()
	}()
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill ends the process and waits for it.
func (p *process) kill() {
	p.cmd.Process.Kill() // fails only if it has ended
	<-p.exited
}

// shutdown ends the process as Lambda ends an environment: at once, or half a
// second after SIGTERM if the process registered an internal extension.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-shutdown
func (p *process) shutdown() {
	p.mu.Lock()
	extensions := p.extensions
	p.mu.Unlock()
	if extensions > 0 && p.cmd.Process.Signal(syscall.SIGTERM) == nil {
		select {
		case <-p.exited:
		case <-time.After(500 * time.Millisecond):
		}
	}
	p.kill()
}

// exitReason describes the end of a process in Lambda's words.
func (p *process) exitReason() string {
	if s := p.cmd.ProcessState; s != nil && !s.Success() {
		return "Runtime exited with error: " + s.String()
	}
	return "Runtime exited without providing a reason"
}

func (p *process) initFailure() *InvokeError {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.initError
}

// writeRuntimeError answers in the runtime API's error form.
func writeRuntimeError(w http.ResponseWriter, status int, typ, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"errorType": typ, "errorMessage": message})
}

// serveNext waits for an event. A runtime that asks while an event is
// unanswered, or asks twice at once, makes an error.
func (p *process) serveNext(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	if p.current != nil || p.polling {
		p.mu.Unlock()
		writeRuntimeError(w, http.StatusForbidden, "InvalidStateTransition", "asked for the next event before the last was answered")
		return
	}
	p.polling = true
	p.mu.Unlock()
	select {
	case p.idle <- struct{}{}:
	default: // the last poll was cut off and its value never taken
	}
	var inv *invocation
	select {
	case inv = <-p.next:
	case <-p.exited:
	case <-r.Context().Done():
	}
	p.mu.Lock()
	p.polling, p.current = false, inv
	p.mu.Unlock()
	if inv == nil {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", inv.arn)
	h.Set("Lambda-Runtime-Trace-Id", inv.trace)
	w.Write(inv.payload)
}

// take returns the invocation that a process answers. A process can answer each
// once.
func (p *process) take(w http.ResponseWriter, r *http.Request) *invocation {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.id != r.PathValue("id") || p.current.taken {
		writeRuntimeError(w, http.StatusBadRequest, "InvalidRequestID", "no such invocation is under way and unanswered")
		return nil
	}
	p.current.taken = true
	return p.current
}

// accept ends an invocation that was answered.
func (p *process) accept(w http.ResponseWriter, inv *invocation) {
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
	close(inv.done)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, `{"status":"OK"}`+"\n")
}

// serveResponse passes an answer on as it comes. Trailers report a failure
// halfway.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
func (p *process) serveResponse(w http.ResponseWriter, r *http.Request) {
	if mode := r.Header.Get("Lambda-Runtime-Function-Response-Mode"); mode != "" && mode != "streaming" {
		writeRuntimeError(w, http.StatusBadRequest, "Runtime.InvalidResponseModeHeader", "want streaming, or no such header")
		return
	}
	inv := p.take(w, r)
	if inv == nil {
		return
	}
	inv.begin(r.Header.Get("Content-Type"), nil)
	_, err := io.Copy(inv.pipe, r.Body)
	if errors.Is(err, errAbandoned) {
		_, err = io.Copy(io.Discard, r.Body)
	}
	switch {
	case errors.Is(err, errTooLarge):
		p.mu.Lock()
		p.current = nil
		p.mu.Unlock()
		close(inv.done)
		writeRuntimeError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "exceeded maximum allowed payload size")
		return
	case err != nil:
		return // cut off: the process's exit or the deadline gives the reason
	}
	if typ := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); typ != "" {
		doc, _ := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
		inv.pipe.CloseWithError(readError(doc, typ))
	} else {
		inv.pipe.Close()
	}
	p.accept(w, inv)
}

func (p *process) serveError(w http.ResponseWriter, r *http.Request) {
	doc, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	if err != nil {
		writeRuntimeError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "exceeded maximum allowed payload size")
		return
	}
	inv := p.take(w, r)
	if inv == nil {
		return
	}
	inv.fail(readError(doc, r.Header.Get("Lambda-Runtime-Function-Error-Type")))
	p.accept(w, inv)
}

func (p *process) serveInitError(w http.ResponseWriter, r *http.Request) {
	doc, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	if err != nil {
		writeRuntimeError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "exceeded maximum allowed payload size")
		return
	}
	p.mu.Lock()
	p.initError = readError(doc, r.Header.Get("Lambda-Runtime-Function-Error-Type"))
	p.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	io.WriteString(w, `{"status":"OK"}`+"\n")
}

// readError reads an error document. If the document has no type, the header's
// type is used.
func readError(doc []byte, typ string) *InvokeError {
	var e struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	json.Unmarshal(doc, &e) // a document of another form is passed on unchanged
	if e.Type == "" {
		e.Type = typ
	}
	return &InvokeError{Type: e.Type, Message: e.Message, Payload: doc}
}

// serveRegister registers an internal extension without events, which is how
// aws-lambda-go asks for SIGTERM.
func (p *process) serveRegister(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Events []string `json:"events"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&in); err != nil || r.Header.Get("Lambda-Extension-Name") == "" {
		writeRuntimeError(w, http.StatusBadRequest, "Extension.InvalidRequest", "want a name and a JSON body")
		return
	}
	if len(in.Events) > 0 {
		writeRuntimeError(w, http.StatusNotImplemented, "Extension.UnknownOperation", "localaws sends no extension events")
		return
	}
	p.mu.Lock()
	p.extensions++
	p.mu.Unlock()
	w.Header().Set("Lambda-Extension-Identifier", uuid.NewString())
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{}`)
}

// serveExtensionNext never has an event.
func (p *process) serveExtensionNext(w http.ResponseWriter, r *http.Request) {
	select {
	case <-p.exited:
	case <-r.Context().Done():
	}
}

// traceID makes an X-Ray trace header that asks for no sampling.
func traceID(now time.Time) string {
	var b [20]byte
	rand.Read(b[:])
	return fmt.Sprintf("Root=1-%08x-%s;Parent=%s;Sampled=0", now.Unix(), hex.EncodeToString(b[:12]), hex.EncodeToString(b[12:]))
}
