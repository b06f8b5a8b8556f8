package localaws

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"
)

// urlPath is the path prefix of function URLs.
const urlPath = "/lambda-url/"

// FunctionURL is a function's HTTP endpoint.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
type FunctionURL struct {
	AuthType   string // AWS_IAM; localaws has no public URLs
	InvokeMode string // BUFFERED (default) or RESPONSE_STREAM
}

// AddURL gives the function a URL, or changes its URL, and returns it. In an
// account the URL has a host of its own; here it has a path.
func (f *Function) AddURL(u FunctionURL) (string, error) {
	if u.InvokeMode == "" {
		u.InvokeMode = modeBuffered
	}
	switch {
	case u.AuthType != "AWS_IAM":
		return "", fmt.Errorf("URL of function %s: AuthType %.40q: localaws has AWS_IAM", f.cfg.Name, u.AuthType)
	case u.InvokeMode != modeBuffered && u.InvokeMode != modeStream:
		return "", fmt.Errorf("URL of function %s: InvokeMode %.40q: want %s or %s", f.cfg.Name, u.InvokeMode, modeBuffered, modeStream)
	}
	f.s.funcs.mu.Lock()
	defer f.s.funcs.mu.Unlock()
	f.url = &u
	return f.s.URL() + urlPath + f.cfg.Name + "/", nil
}

// RemoveURL removes the function's URL, if it has one.
func (f *Function) RemoveURL() {
	f.s.funcs.mu.Lock()
	defer f.s.funcs.mu.Unlock()
	f.url = nil
}

const (
	modeBuffered = "BUFFERED"
	modeStream   = "RESPONSE_STREAM"
)

// serveURL serves a request to a function's URL.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
func (p *functions) serveURL(w http.ResponseWriter, r *http.Request, rec *Record) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	name, path, _ := strings.Cut(strings.TrimPrefix(rec.Path, urlPath), "/")
	p.mu.Lock()
	f := p.byName[name]
	var u *FunctionURL
	if f != nil {
		u = f.url
	}
	p.mu.Unlock()
	if u == nil {
		writeURLError(w, &apiError{http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf("localaws has no URL of a function %.80q", name)})
		return
	}
	if err := p.checkURLCaller(r, rec.RequestBody, f, *u); err != nil {
		writeURLError(w, err)
		return
	}
	if len(rec.RequestBody) > maxSyncPayload {
		writeURLError(w, &apiError{http.StatusRequestEntityTooLarge, "RequestTooLargeException",
			fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", maxSyncPayload)})
		return
	}
	event := encodeJSON(f.urlEvent(r, rec.RequestBody, "/"+path))
	if u.InvokeMode == modeStream {
		f.streamURL(w, r, event)
		return
	}
	res, err := f.Invoke(r.Context(), event)
	if err != nil || res.FunctionError != "" {
		writeURLError(w, errURLFailed)
		return
	}
	writeURLAnswer(w, res.Payload)
}

// checkURLCaller refuses a caller who may not call the URL. Both permissions are
// needed since October 2025.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
func (p *functions) checkURLCaller(r *http.Request, body []byte, f *Function, u FunctionURL) *apiError {
	err := p.s.checkSignature(r, body, "lambda")
	if err != nil && err.Type != "MissingAuthenticationTokenException" {
		return err
	}
	forbidden := &apiError{http.StatusForbidden, "AccessDeniedException",
		"Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}
	if err != nil {
		return forbidden
	}
	for _, a := range []access{
		{action: "lambda:InvokeFunctionUrl", resources: []string{f.ARN()}, context: map[string]string{"lambda:FunctionUrlAuthType": u.AuthType}},
		{action: "lambda:InvokeFunction", resources: []string{f.ARN()}, context: map[string]string{"lambda:InvokedViaFunctionUrl": "true"}},
	} {
		if p.s.authorize(r, a) != nil {
			return forbidden
		}
	}
	return nil
}

// errURLFailed is all that a caller learns about a failed function.
var errURLFailed = &apiError{Status: http.StatusBadGateway, Message: "Internal Server Error"}

func writeURLError(w http.ResponseWriter, err *apiError) {
	w.Header().Set("Content-Type", "application/json")
	if err.Type != "" {
		w.Header().Set("X-Amzn-Errortype", err.Type)
	}
	w.WriteHeader(err.Status)
	w.Write(encodeJSON(object{"Message": err.Message}))
}

// urlEvent returns the request as the function gets it, in payload format 2.0.
// The signature is not passed on.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
func (f *Function) urlEvent(r *http.Request, body []byte, path string) events.LambdaFunctionURLRequest {
	now := f.s.cfg.Now().UTC()
	sum := sha256.Sum256([]byte(f.ARN()))
	id := hex.EncodeToString(sum[:16])
	domain := id + ".lambda-url." + f.s.cfg.Region + ".on.aws"
	headers := map[string]string{"host": domain, "x-forwarded-proto": "https", "x-forwarded-port": "443", "x-amzn-trace-id": traceID(now)}
	for name, values := range r.Header {
		if name != "Authorization" && name != "Cookie" {
			headers[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	query := map[string]string{}
	for name, values := range r.URL.Query() {
		query[name] = strings.Join(values, ",")
	}
	var cookies []string
	for _, c := range r.Cookies() {
		cookies = append(cookies, c.String())
	}
	text, binary := string(body), !isText(r.Header.Get("Content-Type")) && len(body) > 0 || !utf8.Valid(body)
	if binary {
		text = base64.StdEncoding.EncodeToString(body)
	}
	rawPath, err := url.PathUnescape(path)
	if err != nil {
		rawPath = path
	}
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	keyID, arn, caller := f.s.caller(r)
	return events.LambdaFunctionURLRequest{
		Version: "2.0", RawPath: rawPath, RawQueryString: r.URL.RawQuery, Cookies: cookies, Headers: headers, QueryStringParameters: query,
		RequestContext: events.LambdaFunctionURLRequestContext{
			AccountID: Account, RequestID: uuid.NewString(), APIID: id, DomainName: domain, DomainPrefix: id,
			Authorizer: &events.LambdaFunctionURLRequestContextAuthorizerDescription{IAM: &events.LambdaFunctionURLRequestContextAuthorizerIAMDescription{
				AccessKey: keyID, AccountID: Account, CallerID: caller, UserARN: arn, UserID: caller,
			}},
			Time: now.Format("02/Jan/2006:15:04:05 -0700"), TimeEpoch: now.UnixMilli(),
			HTTP: events.LambdaFunctionURLRequestContextHTTPDescription{
				Method: r.Method, Path: rawPath, Protocol: "HTTP/1.1", SourceIP: source, UserAgent: r.UserAgent(),
			},
		},
		Body: text, IsBase64Encoded: binary,
	}
}

// isText reports whether a body of this type is passed on without base64.
func isText(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "+xml") ||
		slices.Contains([]string{"application/json", "application/javascript", "application/xml", "application/x-www-form-urlencoded"}, media)
}

// writeURLAnswer answers with what a function returned to a URL of the mode
// BUFFERED: a response, or any other JSON, which is taken for the body.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-response-payload
func writeURLAnswer(w http.ResponseWriter, payload []byte) {
	var members map[string]json.RawMessage
	json.Unmarshal(payload, &members) // anything but an object has none
	if _, response := members["statusCode"]; !response {
		w.Header().Set("Content-Type", "application/json")
		var text string
		if json.Unmarshal(payload, &text) == nil {
			payload = []byte(text)
		}
		w.Write(payload)
		return
	}
	var out events.LambdaFunctionURLResponse
	if err := json.Unmarshal(payload, &out); err != nil || out.StatusCode < 100 || out.StatusCode > 599 {
		writeURLError(w, errURLFailed)
		return
	}
	body := []byte(out.Body)
	if out.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(out.Body); err != nil {
			writeURLError(w, errURLFailed)
			return
		}
	}
	writeURLHead(w, out.StatusCode, out.Headers, out.Cookies)
	w.Write(body)
}

func writeURLHead(w http.ResponseWriter, status int, headers map[string]string, cookies []string) {
	w.Header().Set("Content-Type", "application/json")
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		w.Header().Set(name, headers[name])
	}
	for _, c := range cookies {
		w.Header().Add("Set-Cookie", c)
	}
	w.WriteHeader(status)
}

// The form of a streamed answer with a status and headers: JSON, eight NULs,
// the body.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
const (
	preludeType = "application/vnd.awslambda.http-integration-response"
	preludeEnd  = "\x00\x00\x00\x00\x00\x00\x00\x00"
	maxPrelude  = 64 << 10
)

// streamURL passes on the function's answer as it comes, and cuts it off if the
// function fails halfway.
func (f *Function) streamURL(w http.ResponseWriter, r *http.Request, event []byte) {
	answer, err := f.InvokeStream(r.Context(), event)
	if err != nil {
		writeURLError(w, errURLFailed)
		return
	}
	defer answer.Body.Close()
	body := bufio.NewReader(answer.Body)
	if answer.ContentType == preludeType {
		head, err := readPrelude(body)
		if err != nil {
			writeURLError(w, errURLFailed)
			return
		}
		writeURLHead(w, head.StatusCode, head.Headers, head.Cookies)
	} else {
		w.Header().Set("Content-Type", answer.ContentType)
		w.WriteHeader(http.StatusOK)
	}
	http.NewResponseController(w).Flush()
	relay(w, body, true)
}

// readPrelude reads what comes before the body.
func readPrelude(r io.ByteReader) (head events.LambdaFunctionURLResponse, err error) {
	var prelude []byte
	for !strings.HasSuffix(string(prelude[max(0, len(prelude)-len(preludeEnd)):]), preludeEnd) {
		c, err := r.ReadByte()
		if err != nil {
			return head, fmt.Errorf("reading the prelude: %w", err)
		}
		if prelude = append(prelude, c); len(prelude) > maxPrelude {
			return head, errors.New("the prelude has no end")
		}
	}
	if err := json.Unmarshal(prelude[:len(prelude)-len(preludeEnd)], &head); err != nil {
		return head, fmt.Errorf("the prelude: %w", err)
	}
	if head.StatusCode == 0 {
		head.StatusCode = http.StatusOK
	}
	if head.StatusCode < 100 || head.StatusCode > 599 {
		return head, fmt.Errorf("status code %d", head.StatusCode)
	}
	return head, nil
}
