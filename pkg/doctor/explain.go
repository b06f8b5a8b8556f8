package doctor

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
	"agentcore-mcp-auth/pkg/credstore"
)

// Explanation is the meaning of a refusal or a token.
type Explanation struct {
	What   string  `json:"what"`             // in one line
	Causes []Cause `json:"causes,omitempty"` // of a refusal, the likeliest first
	Checks []Check `json:"checks,omitempty"` // of a token, claim by claim
}

// Cause is a possible cause, and the command that confirms or fixes it.
type Cause struct {
	Cause string `json:"cause"`
	Next  string `json:"next"`
}

// ErrUnknown is the error for a text that Explain does not understand.
var ErrUnknown = errors.New("neither an HTTP answer, nor an error of AWS, OAuth or MCP, nor a token")

// Explain explains an answer that an agent, an MCP client, curl or the AWS
// command line got: an HTTP answer with or without its headers, a JSON-RPC or
// OAuth error, or an error message. For a token it explains the claims. With
// cfg.Name it compares them with what the server's parameters and its runtime
// require. Without cfg.Name it sends no request.
func Explain(ctx context.Context, text string, cfg Config) (Explanation, error) {
	if token := tokenIn(text); token != "" {
		return explainToken(ctx, token, cfg)
	}
	r := parseRefusal(text)
	if r.empty() {
		return Explanation{}, ErrUnknown
	}
	return r.explain(newAdvice(cfg), endpoint{}), nil
}

// tokenIn returns the token in a text that contains nothing else: a bare token,
// one after Bearer, or a token endpoint's answer.
func tokenIn(text string) string {
	text = strings.TrimSpace(text)
	var answer struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
	}
	if json.Unmarshal([]byte(text), &answer) == nil && answer.AccessToken+answer.IDToken != "" {
		if text = answer.AccessToken; text == "" {
			text = answer.IDToken
		}
	}
	for _, prefix := range []string{"authorization:", "bearer "} {
		if len(text) > len(prefix) && strings.EqualFold(text[:len(prefix)], prefix) {
			text = strings.TrimSpace(text[len(prefix):])
		}
	}
	if _, err := decode(text); err != nil {
		return ""
	}
	return text
}

func explainToken(ctx context.Context, token string, cfg Config) (Explanation, error) {
	c, err := decode(token)
	if err != nil {
		return Explanation{}, err
	}
	x := Explanation{What: clean(fmt.Sprintf("a token of %s for client %s", cmp.Or(c.Issuer, "none"), cmp.Or(c.ClientID, "none")))}
	if cfg.Name == "" {
		x.Checks = c.examine(expectation{}, time.Now(), newAdvice(cfg))
		return x, nil
	}
	e := newExam(ctx, cfg)
	e.examineAccount(ctx)
	e.examineParameters(ctx)
	if first := (Report{Checks: e.checks}).First(); e.failed("parameters") && first != nil {
		return x, fmt.Errorf("%s: %s: %s; next: %s", first.ID, first.Found, first.Cause, first.Next)
	}
	e.token, e.claims = credstore.NewSecret(token), c
	e.examineIssuer(ctx)
	e.examineEndpoint(ctx)
	if err := ctx.Err(); err != nil {
		return x, err
	}
	x.Checks = c.examine(e.expectation(), time.Now(), e.advice)
	for _, check := range e.checks { // these failed, so nothing could be compared with them
		if check.Status != Pass && slices.Contains(compared, check.ID) {
			x.Checks = append(x.Checks, check)
		}
	}
	if e.runtime == nil {
		return x, nil
	}
	kind := e.checkKind()
	kind.ID = "authorizer.kind"
	x.Checks = append(x.Checks, kind)
	if kind.Status == Pass {
		r := e.rules()
		x.Checks = append(x.Checks, r.examine(c, e.issuerOf(ctx, r.discoveryURL), e.updateCommand())...)
	}
	return x, nil
}

// compared are the checks on the values that a token is compared with.
var compared = []string{checkID(credstore.ClientID), "discovery.url", "discovery.document", "discovery.issuer", "endpoint.form", "runtime.exists"}

// refusal is what is known about one refused request.
type refusal struct {
	status     int      // HTTP; 0: not known
	code       int      // JSON-RPC; 0: none
	kind       string   // an exception of AWS, or an error of OAuth
	message    string   // of the server
	challenges []string // WWW-Authenticate
	agent      bool     // kind is an error code of this project's agent
	fresh      bool     // the token is known to be a new one
}

func (r refusal) empty() bool {
	return r.status == 0 && r.code == 0 && r.kind == "" && len(r.challenges) == 0
}

func (r refusal) String() string {
	var parts []string
	if r.status != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("HTTP %d %s", r.status, http.StatusText(r.status))))
	}
	if r.code != 0 {
		parts = append(parts, fmt.Sprintf("JSON-RPC error %d", r.code))
	}
	if r.kind != "" {
		parts = append(parts, clean(r.kind))
	}
	text := strings.Join(parts, ", ")
	if r.message != "" {
		text += ": " + clean(r.message)
	}
	return clean(text)
}

// How messages of command lines, SDKs and this project's agent name the answer
// that they got.
var (
	cliError   = regexp.MustCompile(`An error occurred \(([A-Za-z.]+)\) when calling the (\w+) operation(?: \([^)]*\))?: (.*)`)
	goError    = regexp.MustCompile(`api error ([A-Za-z.]+): (.*)`)
	statusText = regexp.MustCompile(`(?i)(?:StatusCode: |status(?: code)?:? |answered |authorization with |HTTP(?:/[\d.]+)? )(\d{3})\b`)
	rpcText    = regexp.MustCompile(`(?i)(?:JSON-RPC error |code"?:? ?)(-3\d{4})\b:?(.*)`)
	oauthText  = regexp.MustCompile(`\b(invalid_client|invalid_scope|invalid_grant|invalid_request|unauthorized_client|unsupported_grant_type|invalid_target)\b`)
	bearerText = regexp.MustCompile(`Bearer (?:error|scope|realm|resource_metadata)=.*`)
)

// parseRefusal reads everything that a text says about a refusal.
func parseRefusal(text string) refusal {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.Contains(text, "\n< HTTP/") || strings.HasPrefix(text, "< HTTP/") { // output of curl -v
		text = ofCurl(text)
	}
	var r refusal
	// Of several answers, as after a redirect or with Expect, the last counts.
	for strings.HasPrefix(text, "HTTP/") {
		var found bool
		if r, text, found = parseHead(text); !found {
			break
		}
	}
	r.readBody(strings.TrimSpace(text))
	return r
}

// ofCurl returns the answer in the output of curl -v: the header lines without
// their marks, and the body, which has none.
func ofCurl(text string) string {
	var head, body []string
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "< "), line == "<":
			head = append(head, strings.TrimPrefix(strings.TrimPrefix(line, "<"), " "))
		case strings.HasPrefix(line, "*"), strings.HasPrefix(line, ">"), strings.HasPrefix(line, "{ ["), strings.HasPrefix(line, "} ["):
		default:
			body = append(body, line)
		}
	}
	return strings.Join(head, "\n") + "\n\n" + strings.Join(body, "\n")
}

// parseHead reads a status line and headers from the beginning of text.
func parseHead(text string) (r refusal, rest string, ok bool) {
	line, rest, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return r, text, false
	}
	status, err := strconv.Atoi(fields[1])
	if err != nil {
		return r, text, false
	}
	head, body, whole := strings.Cut(rest, "\n\n")
	if strings.HasPrefix(rest, "\n") {
		head, body, whole = "", rest[1:], true
	}
	if !whole {
		body = ""
	}
	header, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(head + "\n\n"))).ReadMIMEHeader()
	kind, _, _ := strings.Cut(header.Get("X-Amzn-Errortype"), ":")
	return refusal{status: status, kind: kind, challenges: header.Values("WWW-Authenticate")}, strings.TrimLeft(body, "\n"), true
}

// readBody reads a body, or a message of unknown origin.
func (r *refusal) readBody(text string) {
	if rest, ok := strings.CutPrefix(text, "data:"); ok { // the one event of a stream
		text = strings.TrimSpace(rest)
	} else if i := strings.Index(text, "\ndata:"); i >= 0 {
		text = strings.TrimSpace(text[i+len("\ndata:"):])
	}
	if r.readJSON(text) {
		return
	}
	if r.message == "" {
		r.message = text
	}
	if m := cliError.FindStringSubmatch(text); m != nil {
		r.kind, r.message = m[1], m[3]
	} else if m := goError.FindStringSubmatch(text); m != nil {
		r.kind, r.message = m[1], m[2]
	} else if m := oauthText.FindString(text); m != "" && r.kind == "" {
		r.kind = m
	}
	if m := statusText.FindStringSubmatch(text); m != nil && r.status == 0 {
		r.status, _ = strconv.Atoi(m[1])
	}
	if m := rpcText.FindStringSubmatch(text); m != nil && r.code == 0 {
		r.code, _ = strconv.Atoi(m[1])
		r.message = strings.TrimSpace(m[2])
	}
	if m := bearerText.FindString(text); m != "" && r.challenges == nil {
		r.challenges = []string{m}
	}
	if r.empty() {
		r.readWords(text)
	}
}

// readWords recognizes a refusal by its wording if nothing else identifies it.
func (r *refusal) readWords(text string) {
	for _, known := range []struct {
		text string
		kind string
		code int
	}{
		{"Missing Authentication Token", "", agentcore.CodeUnauthorized},
		{"Authorization method mismatch", "", agentcore.CodeForbidden},
		{"is not authorized to perform", "AccessDenied", 0},
		{"AccessDenied", "AccessDenied", 0},
		{"ExpiredToken", "ExpiredToken", 0},
		{"UnrecognizedClientException", "UnrecognizedClientException", 0},
		{"InvalidClientTokenId", "InvalidClientTokenId", 0},
	} {
		if strings.Contains(text, known.text) {
			r.kind, r.code = known.kind, known.code
			return
		}
	}
}

// readMessage reads an error whose message may say more than its kind.
func (r *refusal) readMessage(kind, message string) {
	if r.readBody(message); r.kind == "" && r.code == 0 && len(r.challenges) == 0 {
		r.kind, r.agent = kind, true
	}
}

// readJSON reads errors in JSON: those of JSON-RPC, OAuth, AWS and this
// project's agent, whose message is then read too.
func (r *refusal) readJSON(text string) bool {
	var m struct {
		Error       json.RawMessage `json:"error"`
		Type        string          `json:"__type"`
		Lower       string          `json:"message"`
		Upper       string          `json:"Message"`
		ErrorType   string          `json:"errorType"`
		ErrorText   string          `json:"errorMessage"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal([]byte(text), &m) != nil {
		return false
	}
	var inner struct {
		Code    json.RawMessage `json:"code"`
		Message string          `json:"message"`
	}
	var oauth string
	switch {
	case json.Unmarshal(m.Error, &oauth) == nil && oauth != "":
		r.kind, r.message = oauth, m.Description
	case json.Unmarshal(m.Error, &inner) == nil && inner.Code != nil:
		if json.Unmarshal(inner.Code, &r.code) == nil {
			r.message = inner.Message
		} else { // {"error":{"code":"mcp_auth_refused", …}}
			var kind string
			json.Unmarshal(inner.Code, &kind)
			r.readMessage(kind, inner.Message)
		}
	case m.ErrorText != "": // of a Lambda function
		r.readMessage(m.ErrorType, m.ErrorText)
	default:
		if m.Type != "" {
			r.kind = m.Type[strings.LastIndex(m.Type, "#")+1:]
		}
		if r.message = m.Lower; r.message == "" {
			r.message = m.Upper
		}
		if r.empty() {
			r.readWords(r.message)
		}
	}
	return true
}
