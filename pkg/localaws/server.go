// Package localaws stands in for the AWS services on the machine-to-machine
// path, so that unmodified AWS SDKs, the compiled Lambda bootstraps and the MCP
// container run on one machine with no AWS account.
//
// One [Server] is one [http.Handler] on one loopback port; all state is in
// memory and gone with it. It refuses every address but loopback and it refuses
// to start inside Lambda. No deployable links it. Start at [New], at
// [Server.AWSConfig] and [Server.Env] for clients, at [Server.Records] for what
// they sent and at [Server.SetFault] for what goes wrong; Server.route names
// every service once. What each file has, by the beginning of its name:
//
//	ssm               Parameter Store, and the use of KMS keys by it: Server.Parameters
//	cognito           user pools, domains, resource servers, app clients, users
//	token             a domain's token endpoint, for client credentials
//	oidc              a pool's discovery document, its keys, and the JWTs they sign
//	runtime           AgentCore's front door and GetAgentRuntime: Server.AddRuntime
//	bedrock           Converse and ConverseStream, and the rules for their requests
//	model, arithmetic the models that answer: a Script, or Arithmetic, the default
//	lambda            functions and their runtime API, Invoke, URLs: Server.StartFunction
//	cloudformation    the reply URL of custom resources: Server.SendCustomResource
//	stacks, export    DescribeStacks, and the values that stacks share
//	eventbridge       PutEvents: Server.Events
//	dynamodb          PutItem and UpdateItem on conditions
//	ecr, image        the registry, and an image as AgentCore unpacks it
//	sts               GetCallerIdentity
//	iam, sigv4        roles, their policies, and the signatures of requests
//	awsjson           the common parts of the AWS JSON protocol: members, errors, pages
//	inventory         things without another place, and the list of all leftovers
//
// SQS, SNS and other services that a stack has and no program here calls have no
// more than their names. The folder cloudformation deploys templates into a
// Server.
//
// It is strict where the services are strict, and in doubt stricter: an
// operation or a member of a request that it does not implement is refused by
// name, so that nothing passes here only to fail in an account. That refusal is
// status 501, which no service has. Each rule names the page or the SDK comment
// it comes from. A request that is signed with a role's credentials may do what
// the role's policies allow.
//
// A Server's methods are safe for concurrent use. Errors say what was being done
// and are for people; a request's errors are the service's own.
package localaws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// The account and the credentials of the stand-in. They are not secret: they are
// valid only for a process on this machine.
const (
	Account         = "000000000000"
	AccessKeyID     = "AKIALOCALSTANDINONLY"
	SecretAccessKey = "local-stand-in-only"
)

// maxBody bounds the body of one request. SSM and Cognito requests have a few
// kilobytes; a conversation with tool results is the largest.
const maxBody = 25 << 20

// Config says how a stand-in runs. Every zero field has a default.
type Config struct {
	Addr   string           // loopback address to listen on; default 127.0.0.1:0
	Region string           // default eu-central-1
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default: discard

	// MaxRecords is how many requests [Server.Records] and how many events
	// [Server.Events] keep, so that a stand-in under long load does not grow.
	// Default 10,000; negative: all.
	MaxRecords int
}

// Server is a running or startable stand-in. It is safe for concurrent use.
type Server struct {
	cfg Config

	ssm     *parameterStore
	cognito *userPools
	runtime *runtimes
	replies *replyBox
	funcs   *functions
	buses   *eventBuses
	images  *repositories
	dynamo  *dynamo
	iam     *roles
	stacks  *stacks
	bedrock bedrockRuntime // its zero value answers with [Arithmetic]

	mu       sync.Mutex // guards what follows
	url      string
	http     *http.Server
	records  []Record
	watchers []func(Record)
	fault    func(Record) *Fault
	seq      int
	kept     map[keptResource]bool
	exports  exports
}

// New makes a stand-in that does not listen yet.
func New(cfg Config) *Server {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Region == "" {
		cfg.Region = "eu-central-1"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxRecords == 0 {
		cfg.MaxRecords = maxRecords
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, iam: newRoles()}
	s.ssm = newParameterStore(s)
	s.cognito = newUserPools(s)
	s.runtime = newRuntimes(s)
	s.replies = newReplyBox(s)
	s.funcs = newFunctions(s)
	s.buses = newEventBuses(s)
	s.images = newRepositories(s)
	s.stacks = &stacks{s: s, byName: map[string]*stack{}}
	s.dynamo = newDynamo(s)
	return s
}

// Start listens and serves until [Server.Close]. It refuses an address that is
// not loopback, and it refuses to run inside Lambda.
func (s *Server) Start() error {
	if os.Getenv("AWS_LAMBDA_FUNCTION_NAME") != "" || os.Getenv("AWS_EXECUTION_ENV") != "" {
		return errors.New("localaws: refusing to start inside AWS (AWS_LAMBDA_FUNCTION_NAME or AWS_EXECUTION_ENV is set)")
	}
	l, err := listenLoopback(s.cfg.Addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(l)
	return nil
}

// listenLoopback listens on addr, which must be a loopback IP address and port.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("localaws: listen address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("localaws: refusing to listen on %q: only a loopback address such as 127.0.0.1 is allowed", addr)
	}
	return net.Listen("tcp", addr)
}

// URL is the address of a started stand-in, without a trailing slash: the value
// for AWS_ENDPOINT_URL.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Close stops the functions that [Server.StartFunction] started, and then the
// listener. It cuts running requests off.
func (s *Server) Close() error {
	s.funcs.close()
	s.runtime.client.CloseIdleConnections()
	s.mu.Lock()
	srv := s.http
	s.http = nil
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	return srv.Close()
}

// AWSConfig configures an AWS SDK client for this stand-in: its address, its
// region, its credentials, and nothing from the machine.
func (s *Server) AWSConfig() aws.Config {
	return aws.Config{
		Region:       s.cfg.Region,
		BaseEndpoint: aws.String(s.URL()),
		Credentials:  credentials.StaticCredentialsProvider{Value: accountCredentials},
	}
}

// Env returns the variables that point any AWS SDK or the aws command line at
// this stand-in, and away from the user's own credentials and configuration
// files.
func (s *Server) Env() []string { return s.env(accountCredentials) }

// Record is one request that reached the stand-in, with its answer. Bodies are
// complete, secrets and tokens included, so that tests can check the wire. Mask
// them before you print a Record. Only the layers of images are left out,
// because they are large.
type Record struct {
	Seq            int // 1 for the first request, even if it is no longer kept
	Time           time.Time
	Duration       time.Duration
	Service        string // ssm, cognito-idp, oidc, oauth, agentcore, agentcore-control, bedrock, cloudformation, lambda, events, ecr, registry, dynamodb, sts
	Operation      string // GetParametersByPath, Converse, GET openid-configuration, …
	Method, Path   string
	RequestHeader  http.Header
	RequestBody    []byte
	Status         int // 0: the connection was cut
	ResponseHeader http.Header
	ResponseBody   []byte
}

// Records returns the requests so far, in the order in which they ended. If
// there were more than Config.MaxRecords, it returns only the last ones.
func (s *Server) Records() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Record(nil), s.records...)
}

// Watch calls f with each further request once it has been answered, one at a
// time and in order. f must not call the Server.
func (s *Server) Watch(f func(Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// Fault makes one request fail. The zero Fault does nothing.
type Fault struct {
	Delay   time.Duration // wait first, or until the caller disconnects
	Reset   bool          // cut the connection instead of answering
	Status  int           // answer with this status, with Type and Message in the service's own error form
	Type    string        // error type: ThrottlingException, TooManyRequestsException, …
	Message string
	Header  http.Header // headers to add to the answer, such as Retry-After
	After   bool        // Reset or Status replace the answer only after the request took effect
	Then    func()      // called before the answer is replaced; with After, once the request took effect
}

// SetFault installs f. It is called before each request is served and may return
// nil. The Record that it gets has no answer yet. A nil f removes it.
func (s *Server) SetFault(f func(Record) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// handler serves one request of one service. The body has been read into
// rec.RequestBody and can be read again from r.Body.
type handler func(w http.ResponseWriter, r *http.Request, rec *Record)

// route returns the service and the operation of a request. It names each
// service once; everything else about a service is in its own file.
func (s *Server) route(r *http.Request) (service, operation string, h handler) {
	target := r.Header.Get("X-Amz-Target")
	path := r.URL.EscapedPath()
	switch {
	case strings.HasPrefix(target, "AmazonSSM."):
		return "ssm", strings.TrimPrefix(target, "AmazonSSM."), s.ssm.serve
	case strings.HasPrefix(target, "AWSCognitoIdentityProviderService."):
		return "cognito-idp", strings.TrimPrefix(target, "AWSCognitoIdentityProviderService."), s.cognito.serve
	case strings.HasPrefix(target, "AWSEvents."):
		return "events", strings.TrimPrefix(target, "AWSEvents."), s.buses.serve
	case strings.HasPrefix(target, "AmazonEC2ContainerRegistry_V20150921."):
		return "ecr", strings.TrimPrefix(target, "AmazonEC2ContainerRegistry_V20150921."), s.images.serve
	case strings.HasPrefix(target, "DynamoDB_20120810."):
		return "dynamodb", strings.TrimPrefix(target, "DynamoDB_20120810."), s.dynamo.serve
	case target != "":
		return "unknown", target, refuse
	case strings.HasSuffix(path, "/.well-known/openid-configuration"), strings.HasSuffix(path, "/.well-known/jwks.json"):
		return "oidc", r.Method + " " + path[strings.LastIndex(path, "/")+1:], s.cognito.serveDiscovery
	case strings.HasSuffix(path, "/oauth2/token"):
		return "oauth", r.Method + " /oauth2/token", s.cognito.serveToken
	case r.Method == http.MethodGet && controlPath.MatchString(path):
		return "agentcore-control", "GetAgentRuntime", s.runtime.serveControl
	case strings.HasPrefix(path, "/runtimes/"):
		op := "InvokeAgentRuntime"
		if strings.HasSuffix(path, "/.well-known/oauth-protected-resource") {
			op = "GetRuntimeProtectedResourceMetadata"
		}
		return "agentcore", op, s.runtime.serve
	case strings.HasPrefix(path, "/v2/"):
		return "registry", r.Method + " " + path, s.images.serveRegistry
	case strings.HasPrefix(path, "/model/") && strings.HasSuffix(path, "/converse"):
		return "bedrock", "Converse", s.serveConverse
	case strings.HasPrefix(path, "/model/") && strings.HasSuffix(path, "/converse-stream"):
		return "bedrock", "ConverseStream", s.serveConverse
	case strings.HasPrefix(path, "/cloudformation/reply/"):
		return "cloudformation", r.Method + " reply", s.replies.serve
	case strings.HasPrefix(path, "/2015-03-31/functions/") && strings.HasSuffix(path, "/invocations"):
		return "lambda", "Invoke", s.funcs.serveInvoke
	case strings.HasPrefix(path, urlPath):
		return "lambda", "InvokeFunctionUrl", s.funcs.serveURL
	}
	switch action, version := queryAction(r); version {
	case cloudFormationVersion:
		return "cloudformation", action, s.stacks.serve
	case stsVersion:
		return "sts", action, s.serveSTS
	}
	return "unknown", r.Method + " " + path, refuse
}

// refuse refuses by name what the stand-in does not implement.
func refuse(w http.ResponseWriter, r *http.Request, rec *Record) {
	writeError(w, &apiError{http.StatusNotImplemented, "UnknownOperationException", "localaws does not implement " + rec.Operation})
}

// ServeHTTP serves and records one request, or makes it fail if there is a fault
// for it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.cfg.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "the request body is too large or was cut off"})
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := Record{Time: start, Method: r.Method, Path: r.URL.EscapedPath(), RequestHeader: r.Header.Clone(), RequestBody: body}
	var h handler
	rec.Service, rec.Operation, h = s.route(r)

	s.mu.Lock()
	faultFor := s.fault
	s.mu.Unlock()
	var fault *Fault
	if faultFor != nil {
		fault = faultFor(rec)
	}

	rw := &recorder{ResponseWriter: w}
	panicked := true
	defer func() { // runs even if a fault or a proxy cuts the connection with a panic
		rec.Duration = s.cfg.Now().Sub(start)
		rec.ResponseHeader, rec.ResponseBody = rw.Header().Clone(), rw.body.Bytes()
		if rec.Status = rw.status; rec.Status == 0 && !panicked {
			rec.Status = http.StatusOK
		}
		s.keep(rec)
		if !panicked {
			rw.send()
		}
	}()
	serveWithFault(rw, r, &rec, h, fault)
	panicked = false
}

// serveWithFault serves a request through h, or makes it fail as fault says.
// fault may be nil.
func serveWithFault(w *recorder, r *http.Request, rec *Record, h handler, fault *Fault) {
	if fault == nil {
		h(w, r, rec)
		return
	}
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	if !fault.Reset && fault.Status == 0 {
		h(w, r, rec)
		return
	}
	if fault.After {
		h(&discard{header: http.Header{}}, r, rec)
	}
	if fault.Then != nil {
		fault.Then()
	}
	if fault.Reset {
		panic(http.ErrAbortHandler)
	}
	for k, v := range fault.Header {
		w.Header()[k] = v
	}
	failure := &apiError{fault.Status, fault.Type, fault.Message}
	switch _, version := queryAction(r); {
	case version != "":
		writeQueryError(w, version, failure)
	case rec.Service == "dynamodb":
		writeDynamoDB(w, nil, failure)
	case rec.Service == "oauth":
		writePlainJSON(w, failure.Status, map[string]string{"error": failure.Type})
	case rec.Service == "registry":
		writeRegistryError(w, failure)
	case rec.Service == "cloudformation": // a reply URL, which is S3's
		writeS3Error(w, failure)
	default:
		writeError(w, failure)
	}
}

func (s *Server) keep(rec Record) {
	if rec.Service == "registry" && strings.Contains(rec.Path, "/blobs/") {
		rec.RequestBody, rec.ResponseBody = nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	rec.Seq = s.seq
	s.records = appendLast(s.records, rec, s.cfg.MaxRecords)
	s.cfg.Logger.Debug("request", "service", rec.Service, "operation", rec.Operation, "status", rec.Status)
	for _, f := range s.watchers {
		f(rec)
	}
}

// baseURL returns the address by which the caller of r reached the stand-in.
// Absolute URLs in documents begin with it, so that New's handler also works
// behind an httptest.Server.
func baseURL(r *http.Request) string { return "http://" + r.Host }

// recorder keeps an answer and passes it on. Flushed parts go out at once. The
// rest goes out after the Record has been kept, so that a caller who has the
// answer finds its Record.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
	begun  bool // the status has been sent
	sent   int  // of body
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// FlushError sends the part of the answer that has not been sent yet.
func (w *recorder) FlushError() error {
	if err := w.send(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *recorder) send() error {
	if !w.begun && w.status != 0 {
		w.begun = true
		w.ResponseWriter.WriteHeader(w.status)
	}
	rest := w.body.Bytes()[w.sent:]
	if len(rest) == 0 {
		return nil
	}
	w.sent += len(rest)
	_, err := w.ResponseWriter.Write(rest)
	return err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard is a ResponseWriter that drops the answer, for a request of which only
// the effect matters.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
