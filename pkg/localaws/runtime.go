package localaws

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/authorizer"
)

// Runtime is a container behind the AgentCore front door.
type Runtime struct {
	Name     string // a letter, then up to 47 letters, digits or underscores
	Protocol string // MCP (default) or HTTP
	Target   string // address of the container on this machine, such as http://127.0.0.1:8000; the protocol gives the path

	// Role is the ARN of the execution role. bedrock-agentcore.amazonaws.com
	// must be able to assume it. The container does not get it, because the
	// caller runs the container: [Server.RoleEnv] returns credentials of a role.
	// Default: not checked.
	Role string

	// Authorizer says which bearers pass; its Now and Logger default to the
	// stand-in's. nil: callers sign with SigV4, and bearers are refused.
	Authorizer *authorizer.Config

	// HeaderAllowlist names the request headers that reach the container in
	// addition to those that the platform always passes on. It may name
	// Authorization only with an Authorizer.
	HeaderAllowlist []string

	// StartTimeout is how long the first request waits for the container to
	// listen; default 30s, the platform's.
	StartTimeout time.Duration

	// Status is the status that the control plane reports, such as
	// CREATE_FAILED, and FailureReason its reason. Default READY.
	Status, FailureReason string

	// Fail, if set, is called with each request that would pass. If it returns a
	// fault other than "", the platform answers with that. It must be safe for
	// concurrent use.
	Fail func(*http.Request) RuntimeFault
}

// Protocols of a runtime, by the names of the control plane's API.
const (
	ProtocolMCP  = "MCP"
	ProtocolHTTP = "HTTP"
)

// runtimes is the AgentCore data plane: the front door to the containers.
type runtimes struct {
	s      *Server
	client *http.Client

	mu    sync.Mutex // guards byARN
	byARN map[string]*runtime
}

// runtime is a Runtime that was added.
type runtime struct {
	Runtime
	arn        string
	target     *url.URL // with the protocol's path
	authorizer *authorizer.Authorizer
	started    atomic.Bool // the container has listened once
	added      time.Time
}

func newRuntimes(s *Server) *runtimes {
	return &runtimes{
		s: s,
		client: &http.Client{
			// No proxy and no compression: the container sees what was sent, and
			// the caller gets what was answered.
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		byARN: map[string]*runtime{},
	}
}

// https://docs.aws.amazon.com/bedrock-agentcore-control/latest/APIReference/API_CreateAgentRuntime.html
var runtimeName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,47}$`)

// AddRuntime puts a container behind the front door and returns the ARN to call
// it by. The container need not be listening yet.
func (s *Server) AddRuntime(rt Runtime) (arn string, err error) {
	added, err := s.newRuntime(rt, fmt.Sprintf("arn:aws:bedrock-agentcore:%s:%s:runtime/%s-%s", s.cfg.Region, Account, rt.Name, rand.Text()[:10]))
	if err != nil {
		return "", fmt.Errorf("adding runtime: %w", err)
	}

	p := s.runtime
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.byARN {
		if other.Name == rt.Name {
			return "", fmt.Errorf("adding runtime: Name %q is taken by %s", rt.Name, other.arn)
		}
	}
	p.byARN[added.arn] = added
	return added.arn, nil
}

// UpdateRuntime replaces a runtime by a new version under the same ARN. The old
// version finishes its requests. The name must stay the same.
func (s *Server) UpdateRuntime(arn string, rt Runtime) error {
	added, err := s.newRuntime(rt, arn)
	if err != nil {
		return fmt.Errorf("updating runtime: %w", err)
	}

	p := s.runtime
	p.mu.Lock()
	defer p.mu.Unlock()
	switch old := p.byARN[arn]; {
	case old == nil:
		return fmt.Errorf("updating runtime: there is no %s", arn)
	case old.Name != rt.Name:
		return fmt.Errorf("updating runtime: the name of %s cannot be changed to %q", arn, rt.Name)
	}
	p.byARN[arn] = added
	return nil
}

// newRuntime checks a Runtime and fills in its defaults.
func (s *Server) newRuntime(rt Runtime, arn string) (*runtime, error) {
	if rt.Protocol == "" {
		rt.Protocol = ProtocolMCP
	}
	if rt.StartTimeout == 0 {
		rt.StartTimeout = 30 * time.Second
	}
	rt.Status = cmp.Or(rt.Status, "READY")
	rt.HeaderAllowlist = slices.Clone(rt.HeaderAllowlist)
	added := &runtime{Runtime: rt, arn: arn, added: s.cfg.Now()}
	var errs []error
	if !runtimeName.MatchString(rt.Name) {
		errs = append(errs, fmt.Errorf("Name %.80q: want a letter and up to 47 letters, digits or underscores", rt.Name))
	}
	path := map[string]string{ProtocolMCP: "/mcp", ProtocolHTTP: "/invocations"}[rt.Protocol]
	if path == "" {
		errs = append(errs, fmt.Errorf("Protocol %.80q: localaws has %s and %s", rt.Protocol, ProtocolMCP, ProtocolHTTP))
	}
	var err error
	if added.target, err = parseTarget(rt.Target); err != nil {
		errs = append(errs, fmt.Errorf("Target: %w", err))
	} else {
		added.target.Path = path
	}
	if err := checkAllowlist(rt.HeaderAllowlist, rt.Authorizer != nil); err != nil {
		errs = append(errs, fmt.Errorf("HeaderAllowlist: %w", err))
	}
	if !slices.Contains(runtimeStatuses, rt.Status) {
		errs = append(errs, fmt.Errorf("Status %.80q: want one of %s", rt.Status, strings.Join(runtimeStatuses, ", ")))
	}
	// The message is CreateAgentRuntime's.
	// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-permissions.html
	if rt.Role != "" && !s.assumable(rt.Role, "bedrock-agentcore.amazonaws.com", arn) {
		errs = append(errs, fmt.Errorf("Role validation failed for '%.200s'. Please verify that the role exists and its trust policy allows assumption by this service", rt.Role))
	}
	if rt.StartTimeout < 0 {
		errs = append(errs, fmt.Errorf("StartTimeout %s: must not be negative", rt.StartTimeout))
	}
	if rt.Authorizer != nil {
		cfg := *rt.Authorizer
		if cfg.Now == nil {
			cfg.Now = s.cfg.Now
		}
		if cfg.Logger == nil {
			cfg.Logger = s.cfg.Logger
		}
		if cfg.HTTPClient == nil {
			cfg.HTTPClient = &http.Client{Transport: frontDoor{}, Timeout: 10 * time.Second}
		}
		if added.authorizer, err = authorizer.New(cfg); err != nil {
			errs = append(errs, err)
		}
	}
	return added, errors.Join(errs...)
}

// FrontDoorAgent is the User-Agent of the front door's requests for an issuer's
// documents. It tells them from other callers' requests in Records.
const FrontDoorAgent = "localaws-front-door"

type frontDoor struct{}

func (frontDoor) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", FrontDoorAgent)
	return http.DefaultTransport.RoundTrip(req)
}

// RemoveRuntime removes a runtime from the front door. A missing ARN is not an
// error.
func (s *Server) RemoveRuntime(arn string) {
	s.runtime.mu.Lock()
	defer s.runtime.mu.Unlock()
	delete(s.runtime.byARN, arn)
}

// parseTarget accepts the base URL of a server on this machine.
func parseTarget(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%.200q is not a URL", raw)
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "http" || !loopback || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("%.200q: want http, a loopback address and a port, such as http://127.0.0.1:8000; the path follows from Protocol", u.Redacted())
	}
	return u, nil
}

var allowlistName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,255}$`)

// neverAllowed are headers that the platform reserves, including the hop-by-hop
// ones.
var neverAllowed = []string{"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie", "expect", "host",
	"keep-alive", "origin", "proxy-authenticate", "proxy-authorization", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "via"}

// checkAllowlist checks a header allow-list by the platform's rules.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
func checkAllowlist(names []string, jwt bool) error {
	if len(names) > 20 {
		return fmt.Errorf("%d names, at most 20 are allowed", len(names))
	}
	for _, name := range names {
		lower := strings.ToLower(name)
		switch {
		case !allowlistName.MatchString(name):
			return fmt.Errorf("%.80q: want a letter and up to 255 letters, digits, hyphens or underscores", name)
		case lower == "authorization" && !jwt:
			return errors.New("Authorization needs an Authorizer")
		case slices.Contains(neverAllowed, lower), strings.HasPrefix(lower, "x-forwarded-"), strings.HasPrefix(lower, "sec-"):
			return fmt.Errorf("%s never reaches a container", name)
		case strings.HasPrefix(lower, "x-amz-"), strings.HasPrefix(lower, "x-amzn-") && !strings.HasPrefix(lower, customHeader):
			return fmt.Errorf("%s: names in x-amz- and x-amzn- are reserved, except X-Amzn-Bedrock-AgentCore-Runtime-Custom-", name)
		}
	}
	return nil
}

const (
	sessionHeader    = "X-Amzn-Bedrock-Agentcore-Runtime-Session-Id" // as net/http spells it
	userHeader       = "X-Amzn-Bedrock-Agentcore-Runtime-User-Id"
	mcpSessionHeader = "Mcp-Session-Id"
	customHeader     = "x-amzn-bedrock-agentcore-runtime-custom-"

	invocations  = "/invocations"
	metadataPath = invocations + "/.well-known/oauth-protected-resource"
)

// escapeARN escapes an ARN to one path element, with ":" and "/" escaped as the
// platform requires.
func escapeARN(arn string) string { return url.QueryEscape(arn) }

// find returns the runtime of a path and what follows its ARN. The ARN must be
// escaped exactly once, colons included.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
func (p *runtimes) find(path string) (rt *runtime, rest string) {
	element, rest, _ := strings.Cut(strings.TrimPrefix(path, "/runtimes/"), "/")
	rest = "/" + rest
	arn, err := url.PathUnescape(element)
	if err != nil || strings.Contains(element, ":") {
		return nil, rest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if rt = p.byARN[arn]; rt == nil || !rt.serving() {
		return nil, rest
	}
	return rt, rest
}

// serve answers InvokeAgentRuntime and GetRuntimeProtectedResourceMetadata.
func (p *runtimes) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	rt, rest := p.find(rec.Path)
	switch {
	case rt == nil:
		writeError(w, &apiError{http.StatusNotFound, "ResourceNotFoundException", "No endpoint or agent found; the ARN in the path must be URL-encoded, once"})
	case r.URL.Query().Has("accountId"), rest != invocations && rest != metadataPath:
		writeError(w, &apiError{http.StatusNotImplemented, "UnknownOperationException",
			fmt.Sprintf("localaws does not implement %s %s on a runtime, nor the query member accountId", r.Method, rest)})
	case rest == metadataPath:
		p.serveMetadata(w, r, rt)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, &apiError{http.StatusMethodNotAllowed, "MethodNotAllowedException", "InvokeAgentRuntime is a POST"})
	default:
		p.invoke(w, r, rt, rec.RequestBody)
	}
}

// serveMetadata answers without credentials, with the two members that the
// platform gives.
func (p *runtimes) serveMetadata(w http.ResponseWriter, r *http.Request, rt *runtime) {
	if rt.authorizer == nil || !defaultQualifier(r) {
		writeError(w, &apiError{http.StatusNotFound, "ResourceNotFoundException", "the runtime has no JWT authorizer, or no endpoint of that qualifier"})
		return
	}
	authorizer.Metadata{
		Resource:             baseURL(r) + "/runtimes/" + escapeARN(rt.arn) + invocations + "?qualifier=DEFAULT",
		AuthorizationServers: []string{rt.authorizer.Issuer()},
	}.ServeHTTP(w, r)
}

// defaultQualifier reports whether a request is for DEFAULT, the only endpoint
// of a runtime here. A request without a qualifier is for it too.
func defaultQualifier(r *http.Request) bool {
	q, named := r.URL.Query()["qualifier"]
	return !named || slices.Equal(q, []string{"DEFAULT"})
}

// invoke passes a request on to the container, or answers why not.
func (p *runtimes) invoke(w http.ResponseWriter, r *http.Request, rt *runtime, body []byte) {
	a := &answer{w: w, rt: rt, body: body}
	if !p.authorize(a, r) {
		return
	}
	var fault RuntimeFault
	if rt.Fail != nil {
		fault = rt.Fail(r)
	}
	session, invalid := a.session(r)
	switch {
	case fault != "":
		a.fault(fault)
	case !defaultQualifier(r):
		a.fault(FaultNotFound)
	case unknownQuery(r) != "":
		a.refuse(FaultValidation, "localaws does not implement the query member "+unknownQuery(r))
	case invalid != "":
		a.refuse(FaultValidation, invalid)
	case rt.Protocol == ProtocolMCP && !(accepts(r, "application/json") && accepts(r, "text/event-stream")):
		a.fault(faultAccept)
	default:
		p.forward(a, r, session)
	}
}

func unknownQuery(r *http.Request) string {
	for name := range r.URL.Query() {
		if name != "qualifier" {
			return name
		}
	}
	return ""
}

// accepts reports whether the Accept header names a media type. A wildcard does
// not count.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
func accepts(r *http.Request, mediaType string) bool {
	for _, value := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) {
				return true
			}
		}
	}
	return false
}

// authorize reports whether the caller may pass, and answers if not. A runtime
// accepts either bearers or signatures.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
func (p *runtimes) authorize(a *answer, r *http.Request) bool {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	signed := strings.HasPrefix(scheme, "AWS4-") || r.URL.Query().Has("X-Amz-Signature")
	if a.rt.authorizer == nil && bearer || a.rt.authorizer != nil && signed && len(r.Header.Values("Authorization")) <= 1 {
		a.refuse(faultAccessDenied, "Authorization method mismatch. The agent is configured for a different authorization method than what was used in your request. "+
			"Check the agent's authorization configuration and ensure your request uses the matching method (OAuth or SigV4)")
		return false
	}
	if a.rt.authorizer == nil {
		if err := p.s.checkSignature(r, a.body, "bedrock-agentcore"); err != nil {
			a.refuse(faultAccessDenied, "ACCESS_DENIED: "+err.Message)
			return false
		}
		if err := p.s.authorizeAll(r, invokeAccess(a.rt.arn, r)); err != nil {
			a.refuse(faultAccessDenied, err.Message)
			return false
		}
		return true
	}
	token, err := authorizer.Bearer(r)
	if err == nil {
		_, err = a.rt.authorizer.Check(r.Context(), token)
	}
	if err == nil {
		return true
	}
	p.s.cfg.Logger.WarnContext(r.Context(), "bearer refused", "runtime", a.rt.Name, "error", err)
	a.w.Header().Set("Www-Authenticate", fmt.Sprintf("Bearer resource_metadata=%q", baseURL(r)+"/runtimes/"+escapeARN(a.rt.arn)+metadataPath+"?qualifier=DEFAULT"))
	a.refuse(faultUnauthorized, unauthorized(err, token))
	return false
}

// invokeAccess returns the permissions that InvokeAgentRuntime needs: on the
// runtime and the endpoint, and one more action if the request names a user.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonbedrockagentcore.html
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html
func invokeAccess(arn string, r *http.Request) []access {
	endpoint := cmp.Or(r.URL.Query().Get("qualifier"), "DEFAULT")
	need := []access{{action: "bedrock-agentcore:InvokeAgentRuntime", resources: []string{arn, arn + "/runtime-endpoint/" + endpoint}}}
	if r.Header.Get(userHeader) != "" {
		need = append(need, access{action: "bedrock-agentcore:InvokeAgentRuntimeForUser", resources: need[0].resources})
	}
	return need
}

// unauthorized returns the platform's message: the name of the claim that does
// not match, and nothing more. The platform answers 401 for every claim,
// including the scope; gateways and RFC 6750 use 403 for that.
func unauthorized(err error, token string) string {
	var refusal *authorizer.Refusal
	switch {
	case token == "":
		return "Missing Authentication Token"
	case errors.As(err, &refusal) && slices.Contains([]authorizer.Check{authorizer.CheckClient, authorizer.CheckAudience, authorizer.CheckScope, authorizer.CheckClaim}, refusal.Check):
		return fmt.Sprintf("Claim '%s' value mismatch with configuration.", refusal.Claim)
	}
	return "Invalid Bearer token"
}
