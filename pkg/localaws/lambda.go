package localaws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"
)

// The largest payloads that Lambda takes and gives.
// https://docs.aws.amazon.com/lambda/latest/dg/API_Invoke.html
const (
	maxSyncPayload  = 6291456
	maxAsyncPayload = 1 << 20
	maxResponse     = 6291556 // what Function.ResponseSizeTooLarge names
)

// maxInit bounds the Init phase. A longer one is ended and run again within the
// function's timeout.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
const maxInit = 10 * time.Second

// FunctionConfig describes a function whose code is a compiled bootstrap.
type FunctionConfig struct {
	Name     string            // as in an ARN: letters, digits, hyphens, underscores
	Binary   string            // path of the executable
	Role     string            // ARN of the execution role; default: none, and the account's own credentials
	Env      map[string]string // the function's own variables; Lambda's reserved names are refused
	Timeout  time.Duration     // default 3 s, at most 15 minutes, as Lambda's
	MemoryMB int               // announced, not enforced; default 128
	Stderr   io.Writer         // gets the process's stdout and stderr while it runs; default: discarded
}

// Function is one function with one execution environment: one process, which
// serves one invocation at a time. The first invocation starts the process, and
// so does the next one after the process has ended. Its methods are safe for
// concurrent use.
type Function struct {
	cfg     FunctionConfig
	version string // a number, or $LATEST
	s       *Server
	env     []string // of the process, without AWS_LAMBDA_RUNTIME_API

	slot   chan struct{} // held from an invocation's start until the process asks for the next one
	closed chan struct{}
	once   sync.Once
	stop   func() bool  // forgets StartFunction's context
	url    *FunctionURL // nil: none; guarded by the functions' mutex

	proc   *process // guarded by slot
	frozen bool     // guarded by slot
}

// Result is the result of one invocation.
type Result struct {
	Payload       []byte        // the function's answer, or the error document
	FunctionError string        // "Unhandled" when the function failed, otherwise empty
	ErrorType     string        // errorType of the error document
	ErrorMessage  string        // errorMessage of the error document
	Init          time.Duration // set when this invocation had to start the process
}

// InvokeError is the failure of a function that should have answered.
type InvokeError struct {
	Type    string
	Message string
	Payload []byte // the error document
}

func (e *InvokeError) Error() string { return e.Type + ": " + e.Message }

// newInvokeError makes an error that Lambda itself reports about an invocation.
func newInvokeError(requestID, typ, message string) *InvokeError {
	message = "RequestId: " + requestID + " Error: " + message
	doc, _ := json.Marshal(map[string]string{"errorType": typ, "errorMessage": message})
	return &InvokeError{Type: typ, Message: message, Payload: doc}
}

var errFunctionClosed = errors.New("the function was closed")

// validFunctionName is the name part of FunctionName in API_CreateFunction.
var validFunctionName = regexp.MustCompile(`^[a-zA-Z0-9-_]{1,64}$`)

// validVariable and reservedVariables are the rules for a function's own variables.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
var (
	validVariable     = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]+$`)
	reservedVariables = []string{
		"_HANDLER", "_X_AMZN_TRACE_ID", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_EXECUTION_ENV",
		"AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION",
		"AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
		"AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
	}
)

// maxEnvironment is the quota on all of a function's variables together.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxEnvironment = 4096

// functions are the functions of a stand-in by name.
type functions struct {
	s          *Server
	retryAfter []time.Duration // the variable's value, unless a test changes it
	closed     context.Context // ends with the stand-in
	end        context.CancelFunc

	mu       sync.Mutex           // guards what follows
	byName   map[string]*Function // a published version as name:version
	versions map[string]int       // the number last published, by name
	aliases  map[string]string    // name:alias to version
	retries  map[string]int       // by name:qualifier, how often a failed event is retried; missing: 2
}

// retryAfter is how long Lambda waits before it runs an event of an asynchronous
// invocation again.
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
var retryAfter = []time.Duration{time.Minute, 2 * time.Minute}

func newFunctions(s *Server) *functions {
	p := &functions{
		s: s, retryAfter: retryAfter,
		byName: map[string]*Function{}, versions: map[string]int{}, aliases: map[string]string{}, retries: map[string]int{},
	}
	p.closed, p.end = context.WithCancel(context.Background())
	return p
}

// close ends every function and waits.
func (p *functions) close() {
	p.end()
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.byName))
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(f.Close)
	}
	wg.Wait()
}

// StartFunction makes a function available to [Function.Invoke] and to the
// Invoke API until ctx ends or it is closed. As in Lambda, its process is
// started by the first invocation. The stand-in must have been started.
func (s *Server) StartFunction(ctx context.Context, cfg FunctionConfig) (*Function, error) {
	if s.URL() == "" {
		return nil, errors.New("starting a function: the stand-in is not started; call Start first")
	}
	f, err := newFunction(s, cfg, latest)
	if err != nil {
		return nil, fmt.Errorf("starting function %.80q: %w", cfg.Name, err)
	}
	s.funcs.mu.Lock()
	defer s.funcs.mu.Unlock()
	if s.funcs.byName[cfg.Name] != nil {
		return nil, fmt.Errorf("starting function %q: a function of this name exists; close it first", cfg.Name)
	}
	s.funcs.byName[cfg.Name] = f
	f.stop = context.AfterFunc(ctx, f.Close)
	return f, nil
}

func newFunction(s *Server, cfg FunctionConfig, version string) (*Function, error) {
	if !validFunctionName.MatchString(cfg.Name) {
		return nil, errors.New("want a name of 1 to 64 letters, digits, hyphens or underscores")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Timeout < 0 || cfg.Timeout > 15*time.Minute {
		return nil, fmt.Errorf("timeout %v: want at most 15 minutes", cfg.Timeout)
	}
	if cfg.MemoryMB == 0 {
		cfg.MemoryMB = 128
	}
	if cfg.MemoryMB < 128 || cfg.MemoryMB > 10240 {
		return nil, fmt.Errorf("memory %d MB: want 128 to 10240", cfg.MemoryMB)
	}
	path, err := filepath.Abs(cfg.Binary)
	if err != nil {
		return nil, err
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, fmt.Errorf("no binary at %s; run make build first", cfg.Binary)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("%s is not an executable file; run make build first", cfg.Binary)
	}
	cfg.Binary = path
	if err := checkVariables(cfg.Env); err != nil {
		return nil, err
	}
	creds, err := s.executionCredentials(cfg)
	if err != nil {
		return nil, err
	}
	f := &Function{cfg: cfg, version: version, s: s, slot: make(chan struct{}, 1), closed: make(chan struct{})}
	f.env = f.environment(creds)
	return f, nil
}

// executionCredentials assumes the function's role for Lambda, as a session with
// the function's name. The error messages are CreateFunction's.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
func (s *Server) executionCredentials(cfg FunctionConfig) (aws.Credentials, error) {
	if cfg.Role == "" {
		return accountCredentials, nil
	}
	if !s.assumable(cfg.Role, "lambda.amazonaws.com", s.funcs.arn(cfg.Name)) {
		return aws.Credentials{}, fmt.Errorf("role %.200q: The role defined for the function cannot be assumed by Lambda.", cfg.Role)
	}
	return s.assume(cfg.Role, cfg.Name)
}

func checkVariables(env map[string]string) error {
	size := 0
	for k, v := range env {
		switch {
		case !validVariable.MatchString(k):
			return fmt.Errorf("variable %.80q: want a letter, then letters, digits or underscores", k)
		case slices.Contains(reservedVariables, k):
			return fmt.Errorf("variable %s is reserved by Lambda", k)
		case strings.ContainsRune(v, 0):
			return fmt.Errorf("variable %s contains a NUL", k)
		}
		size += len(k) + len(v)
	}
	if size > maxEnvironment {
		return fmt.Errorf("variables of %d bytes: Lambda allows %d", size, maxEnvironment)
	}
	return nil
}

// environment returns the variables of a process: those that Lambda sets on
// provided.al2023, where AWS_EXECUTION_ENV is not set, the addresses of the
// stand-in, and the function's own. It takes nothing from the environment of
// this process.
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
func (f *Function) environment(creds aws.Credentials) []string {
	env := map[string]string{}
	for _, kv := range f.s.env(creds) {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	maps.Copy(env, map[string]string{
		"_HANDLER":                        "bootstrap",
		"AWS_LAMBDA_FUNCTION_NAME":        f.cfg.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     f.version,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(f.cfg.MemoryMB),
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + f.cfg.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      f.s.cfg.Now().UTC().Format("2006/01/02") + "/[" + f.version + "]local",
		"LAMBDA_TASK_ROOT":                filepath.Dir(f.cfg.Binary),
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"LANG":                            "en_US.UTF-8",
		"PATH":                            "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"TZ":                              ":UTC",
	})
	maps.Copy(env, f.cfg.Env)
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// ARN is the function's unqualified ARN, or a published version's ARN.
func (f *Function) ARN() string { return f.s.funcs.arn(f.key()) }

func (p *functions) arn(name string) string {
	return "arn:aws:lambda:" + p.s.cfg.Region + ":" + Account + ":function:" + name
}

// Close ends the process, waits for it and forgets the function. An invocation
// under way fails. A process that registered for SIGTERM, as the aws-lambda-go
// option WithEnableSIGTERM does, gets it half a second before it is killed.
func (f *Function) Close() {
	f.once.Do(func() {
		close(f.closed)
		f.s.funcs.mu.Lock()
		if f.s.funcs.byName[f.key()] == f { // not if an update has replaced it
			delete(f.s.funcs.byName, f.key())
		}
		stop := f.stop
		f.s.funcs.mu.Unlock()
		stop()
	})
	f.slot <- struct{}{} // a running invocation sees closed and releases the slot
	defer func() { <-f.slot }()
	if f.proc != nil {
		f.thaw()
		f.proc.shutdown()
		f.proc = nil
	}
}

// acquire waits for the function's only process to be free.
func (f *Function) acquire(ctx context.Context) error {
	select {
	case f.slot <- struct{}{}:
		select {
		case <-f.closed: // the slot was free at the same time
			<-f.slot
			return errFunctionClosed
		default:
			return nil
		}
	case <-f.closed:
		return errFunctionClosed
	case <-ctx.Done():
		return fmt.Errorf("waiting for function %s to be free: %w", f.cfg.Name, ctx.Err())
	}
}

// Freeze waits until the process waits for an invocation, and then stops it, as
// Lambda does between invocations. The next invocation resumes it.
func (f *Function) Freeze(ctx context.Context) error {
	if err := f.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-f.slot }()
	if f.proc == nil {
		return fmt.Errorf("freezing function %s: no process runs before the first invocation", f.cfg.Name)
	}
	if err := freezeProcess(f.proc.cmd.Process); err != nil {
		return fmt.Errorf("freezing function %s: %w", f.cfg.Name, err)
	}
	f.frozen = true
	return nil
}

// thaw resumes a frozen process and does nothing otherwise. The caller holds the
// slot.
func (f *Function) thaw() error {
	if !f.frozen {
		return nil
	}
	f.frozen = false
	if err := thawProcess(f.proc.cmd.Process); err != nil {
		return fmt.Errorf("thawing function %s: %w", f.cfg.Name, err)
	}
	return nil
}

// PID returns the process's id, or 0 if none runs. It waits for a running
// invocation.
func (f *Function) PID(ctx context.Context) (int, error) {
	if err := f.acquire(ctx); err != nil {
		return 0, err
	}
	defer func() { <-f.slot }()
	if f.proc == nil {
		return 0, nil
	}
	return f.proc.cmd.Process.Pid, nil
}

// Invoke runs the function once and waits for its answer. If the function fails,
// exits or times out, the Result has a FunctionError. An error means that the
// function could not be run, or that ctx ended first, which does not stop the
// function.
func (f *Function) Invoke(ctx context.Context, payload []byte) (Result, error) {
	return f.invoke(ctx, uuid.NewString(), payload)
}

func (f *Function) invoke(ctx context.Context, id string, payload []byte) (Result, error) {
	inv, err := f.begin(ctx, id, payload)
	if err != nil {
		return Result{}, err
	}
	defer context.AfterFunc(ctx, func() { inv.body.CloseWithError(errAbandoned) })()
	body, err := io.ReadAll(io.LimitReader(inv.body, maxResponse+1))
	if ctx.Err() != nil {
		return Result{}, fmt.Errorf("waiting for function %s: %w", f.cfg.Name, ctx.Err())
	}
	res := Result{Payload: body, Init: inv.init}
	if err == nil && len(body) > maxResponse {
		err = newInvokeError(inv.id, "Function.ResponseSizeTooLarge",
			fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse))
		inv.body.CloseWithError(errTooLarge)
	}
	if err != nil {
		var failed *InvokeError
		if !errors.As(err, &failed) {
			return Result{}, fmt.Errorf("invoking function %s: %w", f.cfg.Name, err)
		}
		res.FunctionError = "Unhandled"
		res.Payload, res.ErrorType, res.ErrorMessage = failed.Payload, failed.Type, failed.Message
	}
	return res, nil
}

// Stream is the answer of [Function.InvokeStream]. Body must be closed. Reading
// it fails with an [*InvokeError] when the function fails after it began to
// answer, and with the context's error when that ends.
type Stream struct {
	ContentType string
	Body        io.ReadCloser
}

// InvokeStream runs the function once and returns its answer as it comes, with
// no limit on its size. If the function fails before it answers, the error is an
// [*InvokeError].
func (f *Function) InvokeStream(ctx context.Context, payload []byte) (*Stream, error) {
	inv, err := f.begin(ctx, uuid.NewString(), payload)
	if err != nil {
		return nil, err
	}
	select {
	case <-inv.answering:
	case <-ctx.Done():
		inv.body.CloseWithError(errAbandoned)
		return nil, fmt.Errorf("waiting for function %s: %w", f.cfg.Name, ctx.Err())
	}
	if inv.failed != nil {
		return nil, inv.failed
	}
	b := &streamBody{ctx: ctx, PipeReader: inv.body}
	b.stop = context.AfterFunc(ctx, func() { inv.body.CloseWithError(errAbandoned) })
	return &Stream{ContentType: inv.contentType, Body: b}, nil
}

// streamBody reads an answer until its context ends.
type streamBody struct {
	*io.PipeReader
	ctx  context.Context
	stop func() bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.PipeReader.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = b.ctx.Err()
	}
	return n, err
}

func (b *streamBody) Close() error {
	b.stop()
	return b.PipeReader.CloseWithError(errAbandoned)
}
