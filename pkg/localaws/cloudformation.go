package localaws

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/google/uuid"
)

// The limits on an answer to a custom resource request.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
const (
	maxReply      = 4096
	maxPhysicalID = 1024
)

// replyLife is how long a reply URL is valid: two hours, like CloudFormation's
// own.
const replyLife = 2 * time.Hour

// replyMembers are the members of an answer. Their case matters.
var replyMembers = []string{
	"Status", "Reason", "PhysicalResourceId", "StackId", "RequestId", "LogicalResourceId", "NoEcho", "Data",
}

// Reply receives the answer to one custom resource request. Its URL has the form
// of a presigned S3 PUT. Its methods are safe for concurrent use.
type Reply struct {
	URL string // secret, as everything presigned is

	query   string
	now     func() time.Time
	expires time.Time
	arrived chan struct{} // closed with the first PUT that was stored

	mu   sync.Mutex // guards what follows
	want *cfn.Event
	puts int
	body []byte // of the first PUT
}

// RejectedReply is an answer that CloudFormation would not accept: it fails the
// resource for Reason.
type RejectedReply struct{ Reason string }

func (e *RejectedReply) Error() string { return "CloudFormation would reject the answer: " + e.Reason }

// replyBox holds the open reply URLs by path.
type replyBox struct {
	s *Server

	mu     sync.Mutex // guards what follows
	byPath recent[string, *Reply]
}

func newReplyBox(s *Server) *replyBox { return &replyBox{s: s} }

// NewReply opens a reply URL. The stand-in must have been started.
func (s *Server) NewReply() *Reply {
	var b [48]byte
	rand.Read(b[:])
	path := "/cloudformation/reply/" + hex.EncodeToString(b[:16])
	now := s.cfg.Now().UTC()
	q := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Credential":    {AccessKeyID + "/" + now.Format("20060102") + "/" + s.cfg.Region + "/s3/aws4_request"},
		"X-Amz-Date":          {now.Format("20060102T150405Z")},
		"X-Amz-Expires":       {strconv.Itoa(int(replyLife.Seconds()))},
		"X-Amz-SignedHeaders": {"content-type;host"},
		"X-Amz-Signature":     {hex.EncodeToString(b[16:])},
	}.Encode()
	r := &Reply{
		URL: s.URL() + path + "?" + q, query: q,
		now: s.cfg.Now, expires: now.Add(replyLife), arrived: make(chan struct{}),
	}
	s.replies.mu.Lock()
	defer s.replies.mu.Unlock()
	s.replies.byPath.put(path, r)
	return r
}

// Expect makes the answer's StackId, RequestId and LogicalResourceId be compared
// with those of the request. Without it they only have to be present.
func (r *Reply) Expect(e cfn.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = &e
}

// Puts is the number of PUTs that were stored, repetitions included.
func (r *Reply) Puts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.puts
}

// Wait waits for the answer. If CloudFormation would not accept it, the error is
// a [*RejectedReply]. Later PUTs change nothing.
func (r *Reply) Wait(ctx context.Context) (cfn.Response, error) {
	select {
	case <-r.arrived:
	case <-ctx.Done():
		return cfn.Response{}, fmt.Errorf("waiting for the answer to CloudFormation: %w", ctx.Err())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return readReply(r.body, r.want)
}

// serve plays S3 for a reply URL. S3 stores everything that is signed;
// [Reply.Wait] says whether CloudFormation would accept it.
func (p *replyBox) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	p.mu.Lock()
	reply, _ := p.byPath.get(r.URL.Path)
	p.mu.Unlock()
	switch {
	case reply == nil, r.Method != http.MethodPut, r.URL.RawQuery != reply.query:
		writeS3Error(w, &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."})
	case r.Header.Get("Content-Type") != "":
		// The URL is signed for a request without a content type, so one with a
		// content type does not match. The custom resource guide says to leave
		// it empty.
		writeS3Error(w, &apiError{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided: the URL was signed without a Content-Type."})
	case reply.now().After(reply.expires):
		writeS3Error(w, &apiError{http.StatusForbidden, "AccessDenied", "Request has expired"})
	case r.ContentLength < 0:
		// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
		writeS3Error(w, &apiError{http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header."})
	default:
		reply.store(rec.RequestBody)
		w.WriteHeader(http.StatusOK)
	}
}

func (r *Reply) store(body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.puts++
	if r.puts == 1 {
		r.body = body
		close(r.arrived)
	}
}

// writeS3Error answers in S3's error form.
func writeS3Error(w http.ResponseWriter, e *apiError) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.Status)
	doc, _ := xml.Marshal(struct { // strings always encode
		XMLName       xml.Name `xml:"Error"`
		Code, Message string
	}{Code: e.Type, Message: e.Message})
	w.Write(append([]byte(xml.Header), doc...))
}

// readReply reads an answer as CloudFormation does, and is stricter where its
// behaviour is not documented: member names must match exactly, and none may be
// unknown or repeated.
func readReply(body []byte, want *cfn.Event) (cfn.Response, error) {
	reject := func(format string, args ...any) (cfn.Response, error) {
		return cfn.Response{}, &RejectedReply{fmt.Sprintf(format, args...)}
	}
	if len(body) > maxReply {
		return reject("Response object is too long: %d bytes of at most %d", len(body), maxReply)
	}
	members, err := objectMembers(body)
	if err != nil {
		return reject("Invalid response object: %v", err)
	}
	for _, m := range members {
		if !slices.Contains(replyMembers, m) {
			return reject("Invalid response object: unknown member %.80q", m)
		}
	}
	for i, m := range members {
		if slices.Contains(members[:i], m) {
			return reject("Invalid response object: member %s appears twice", m)
		}
	}
	var res cfn.Response
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&res); err != nil {
		return reject("Invalid response object: %v", err)
	}
	switch {
	case res.Status != cfn.StatusSuccess && res.Status != cfn.StatusFailed:
		return reject("Status %.40q: want SUCCESS or FAILED", string(res.Status))
	case res.Status == cfn.StatusFailed && res.Reason == "":
		return reject("Reason is required when Status is FAILED")
	case res.PhysicalResourceID == "":
		return reject("Invalid PhysicalResourceId: it must not be empty")
	case len(res.PhysicalResourceID) > maxPhysicalID:
		return reject("Invalid PhysicalResourceId: %d bytes of at most %d", len(res.PhysicalResourceID), maxPhysicalID)
	case res.StackID == "" || want != nil && res.StackID != want.StackID:
		return reject("StackId %.200q is not the request's", res.StackID)
	case res.RequestID == "" || want != nil && res.RequestID != want.RequestID:
		return reject("RequestId %.200q is not the request's", res.RequestID)
	case res.LogicalResourceID == "" || want != nil && res.LogicalResourceID != want.LogicalResourceID:
		return reject("LogicalResourceId %.200q is not the request's", res.LogicalResourceID)
	}
	return res, nil
}

// objectMembers lists the member names of a JSON object, in order and with
// repetitions.
func objectMembers(doc []byte) ([]string, error) {
	if !json.Valid(doc) {
		return nil, errors.New("not a JSON document")
	}
	dec := json.NewDecoder(bytes.NewReader(doc))
	if tok, _ := dec.Token(); tok != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var names []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		names = append(names, name.(string))
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// SendCustomResource sends a custom resource event as CloudFormation does. It
// gives the event a reply URL, and a RequestId if it has none, invokes the
// function asynchronously and returns the answer that arrives at the URL. It
// gives up when ctx ends, and after the ServiceTimeout in the event's
// properties, or an hour. Unlike CloudFormation it also gives up once the
// function has ended without an answer. The reply's Puts tell whether there was
// exactly one answer. The reply is nil if the event cannot be sent.
func (s *Server) SendCustomResource(ctx context.Context, f *Function, event []byte) (cfn.Response, *Reply, error) {
	var e cfn.Event
	if err := json.Unmarshal(event, &e); err != nil {
		return cfn.Response{}, nil, fmt.Errorf("reading the custom resource event: %w", err)
	}
	doc := map[string]json.RawMessage{} // keeps members that cfn.Event does not have
	if err := json.Unmarshal(event, &doc); err != nil || doc == nil {
		return cfn.Response{}, nil, errors.New("reading the custom resource event: not a JSON object")
	}
	timeout, err := serviceTimeout(e.ResourceProperties)
	if err != nil {
		return cfn.Response{}, nil, fmt.Errorf("reading the custom resource event: %w", err)
	}
	reply := s.NewReply()
	if e.RequestID == "" {
		e.RequestID = uuid.NewString()
	}
	for name, value := range map[string]string{"ResponseURL": reply.URL, "RequestId": e.RequestID} {
		doc[name], err = json.Marshal(value)
		if err != nil {
			return cfn.Response{}, nil, err
		}
	}
	if event, err = json.Marshal(doc); err != nil {
		return cfn.Response{}, nil, err
	}
	reply.Expect(e)

	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within the ServiceTimeout of %v", timeout))
	defer cancel()
	var outcome string // of the function; read once ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		switch res, err := f.Invoke(context.WithoutCancel(ctx), event); {
		case err != nil:
			outcome = err.Error()
		case res.FunctionError != "":
			outcome = res.ErrorType + ": " + res.ErrorMessage
		default:
			outcome = "success"
		}
	}()
	select {
	case <-reply.arrived:
	case <-ended:
		select {
		case <-reply.arrived:
		default:
			return cfn.Response{}, reply, fmt.Errorf("no answer to CloudFormation: function %s ended (%s) without one", f.cfg.Name, redact(outcome, reply.query))
		}
	case <-ctx.Done():
		return cfn.Response{}, reply, fmt.Errorf("no answer to CloudFormation from function %s: %w", f.cfg.Name, context.Cause(ctx))
	}
	res, err := reply.Wait(context.WithoutCancel(ctx))
	return res, reply, err
}

// serviceTimeout returns how long CloudFormation waits: 1 to 3600 seconds, an
// hour by default.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudformation-customresource.html
func serviceTimeout(properties map[string]any) (time.Duration, error) {
	v, ok := properties["ServiceTimeout"]
	if !ok {
		return time.Hour, nil
	}
	text, _ := v.(string) // scalars arrive as strings
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 3600 {
		return 0, fmt.Errorf("ServiceTimeout %v: want a string of 1 to 3600 seconds", v)
	}
	return time.Duration(n) * time.Second, nil
}

// redact removes a signed query from a text.
func redact(text, query string) string { return strings.ReplaceAll(text, query, "[signature]") }
