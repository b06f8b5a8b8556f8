package localaws

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Stack is a stack of CloudFormation as DescribeStacks shows it.
type Stack struct {
	Name        string // a letter, then letters, digits or hyphens
	ID          string // ARN; default: the id of the stack with the same name, or a new one
	Status      string // default CREATE_COMPLETE
	Description string
	Parameters  map[string]string
	Outputs     []StackOutput
}

// StackOutput is one output of a [Stack].
type StackOutput struct {
	Key, Value, Description string
	ExportName              string // empty: not exported
}

// stacks holds the stacks that DescribeStacks shows. It does not deploy them.
type stacks struct {
	s *Server

	mu     sync.Mutex // guards what follows
	byName map[string]*stack
}

// stack is a Stack that was added.
type stack struct {
	Stack
	id               string
	created, updated time.Time
}

// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/outputs-section-structure.html
var (
	stackName = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]{0,127}$`)
	outputKey = regexp.MustCompile(`^[a-zA-Z0-9]{1,255}$`)
)

// stackStatuses are the statuses of a stack that has not been deleted.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_Stack.html
var stackStatuses = []string{
	"CREATE_IN_PROGRESS", "CREATE_FAILED", "CREATE_COMPLETE", "ROLLBACK_IN_PROGRESS", "ROLLBACK_FAILED", "ROLLBACK_COMPLETE",
	"DELETE_IN_PROGRESS", "DELETE_FAILED", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE",
	"UPDATE_FAILED", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
	"UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS", "IMPORT_IN_PROGRESS", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_IN_PROGRESS",
	"IMPORT_ROLLBACK_FAILED", "IMPORT_ROLLBACK_COMPLETE",
}

// AddStack adds a stack to the answers of DescribeStacks and returns its id,
// which is an ARN. If a stack has the same name, AddStack updates it and keeps
// its id, and refuses another id.
func (s *Server) AddStack(st Stack) (id string, err error) {
	if st.Status == "" {
		st.Status = "CREATE_COMPLETE"
	}
	if err := st.check(); err != nil {
		return "", fmt.Errorf("adding stack: %w", err)
	}
	st.Outputs, st.Parameters = slices.Clone(st.Outputs), maps.Clone(st.Parameters)
	p := s.stacks
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.byName[st.Name]; old != nil {
		if st.ID != "" && st.ID != old.id {
			return "", fmt.Errorf("adding stack: Stack [%s] already exists", st.Name)
		}
		old.Stack = st
		if strings.HasPrefix(st.Status, "UPDATE_") {
			old.updated = s.cfg.Now()
		}
		return old.id, nil
	}
	if id = st.ID; id == "" {
		id = stackARN(s.cfg.Region, st.Name, uuid.NewString())
	}
	p.byName[st.Name] = &stack{Stack: st, id: id, created: s.cfg.Now()}
	return id, nil
}

func stackARN(region, name, id string) string {
	return fmt.Sprintf("arn:aws:cloudformation:%s:%s:stack/%s/%s", region, Account, name, id)
}

// RemoveStack forgets a stack. A missing stack is not an error.
func (s *Server) RemoveStack(name string) {
	s.stacks.mu.Lock()
	defer s.stacks.mu.Unlock()
	delete(s.stacks.byName, name)
}

func (st Stack) check() error {
	var errs []error
	if !stackName.MatchString(st.Name) {
		errs = append(errs, fmt.Errorf("Name %.140q: want a letter and up to 127 letters, digits or hyphens", st.Name))
	}
	if !slices.Contains(stackStatuses, st.Status) {
		errs = append(errs, fmt.Errorf("Status %.80q: want one such as CREATE_COMPLETE", st.Status))
	}
	seen := map[string]bool{}
	for _, o := range st.Outputs {
		if !outputKey.MatchString(o.Key) || seen[o.Key] {
			errs = append(errs, fmt.Errorf("output %.80q: want letters and digits, and each key once", o.Key))
		}
		seen[o.Key] = true
	}
	return errors.Join(errs...)
}

// find returns the stack with a name or an id, or all stacks if that is empty.
func (p *stacks) find(nameOrID string) []*stack {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []*stack
	for _, st := range p.byName {
		if nameOrID == "" || nameOrID == st.Name || nameOrID == st.id {
			copied := *st
			found = append(found, &copied)
		}
	}
	slices.SortFunc(found, func(a, b *stack) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// cloudFormationVersion is the version of CloudFormation's API. It tells
// CloudFormation's requests from those of other services of the query protocol.
const cloudFormationVersion = "2010-05-15"

// queryAction returns the action of a request of the AWS query protocol and the
// version of its API, or "" for any other request.
// https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
func queryAction(r *http.Request) (action, version string) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || r.URL.Path != "/" || media != "application/x-www-form-urlencoded" {
		return "", ""
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return "", ""
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", ""
	}
	return form.Get("Action"), form.Get("Version")
}

// serve answers DescribeStacks, the only implemented operation.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
func (p *stacks) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	if rec.Operation != "DescribeStacks" {
		writeQueryError(w, cloudFormationVersion, &apiError{http.StatusNotImplemented, "UnknownOperationException", "localaws does not implement " + rec.Operation + " of CloudFormation"})
		return
	}
	if err := p.s.checkSignature(r, rec.RequestBody, "cloudformation"); err != nil {
		writeQueryError(w, cloudFormationVersion, err)
		return
	}
	found, err := p.describe(r, rec.RequestBody)
	if err != nil {
		writeQueryError(w, cloudFormationVersion, err)
		return
	}
	type output struct {
		OutputKey, OutputValue  string
		Description, ExportName string `xml:",omitempty"`
	}
	type parameter struct{ ParameterKey, ParameterValue string }
	type member struct {
		StackId, StackName string
		Description        string      `xml:",omitempty"`
		Parameters         []parameter `xml:"Parameters>member"`
		CreationTime       string
		LastUpdatedTime    string `xml:",omitempty"`
		StackStatus        string
		DisableRollback    bool
		Outputs            []output `xml:"Outputs>member"`
	}
	var answer struct {
		XMLName   xml.Name `xml:"http://cloudformation.amazonaws.com/doc/2010-05-15/ DescribeStacksResponse"`
		Stacks    []member `xml:"DescribeStacksResult>Stacks>member"`
		RequestId string   `xml:"ResponseMetadata>RequestId"`
	}
	for _, st := range found {
		m := member{StackId: st.id, StackName: st.Name, Description: st.Description, CreationTime: xmlTime(st.created), StackStatus: st.Status}
		if !st.updated.IsZero() {
			m.LastUpdatedTime = xmlTime(st.updated)
		}
		for _, key := range slices.Sorted(maps.Keys(st.Parameters)) {
			m.Parameters = append(m.Parameters, parameter{key, st.Parameters[key]})
		}
		for _, o := range st.Outputs {
			m.Outputs = append(m.Outputs, output{o.Key, o.Value, o.Description, o.ExportName})
		}
		answer.Stacks = append(answer.Stacks, m)
	}
	answer.RequestId = uuid.NewString()
	writeXML(w, http.StatusOK, answer)
}

func xmlTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (p *stacks) describe(r *http.Request, body []byte) ([]*stack, *apiError) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errorf("MalformedInput", "the request is not a form")
	}
	for name, values := range form {
		switch {
		case name != "Action" && name != "Version" && name != "StackName":
			return nil, unimplemented("member %s", name) // one answer has all stacks, so it has no NextToken
		case len(values) > 1:
			return nil, errorf("MalformedInput", "member %s occurs twice", name)
		}
	}
	name, resources := form.Get("StackName"), []string(nil)
	found := p.find(name)
	for _, st := range found {
		resources = append(resources, st.id)
	}
	if form.Has("StackName") && name == "" {
		return nil, errorf("ValidationError", "1 validation error detected: Value '' at 'stackName' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	// A missing stack has no id. Callers who may describe the name are told that
	// it is missing.
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscloudformation.html
	switch {
	case name == "":
		resources = nil
	case strings.HasPrefix(name, "arn:"):
		resources = []string{name}
	case len(found) == 0:
		resources = []string{stackARN(p.s.cfg.Region, name, "*")}
	}
	if err := p.s.authorize(r, access{action: "cloudformation:DescribeStacks", resources: resources}); err != nil {
		return nil, err
	}
	if name != "" && len(found) == 0 {
		return nil, errorf("ValidationError", "Stack with id %s does not exist", name)
	}
	return found, nil
}

// queryCodes maps exception names of other protocols to the error codes of the
// query protocol.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html
var queryCodes = map[string]apiError{
	"MissingAuthenticationTokenException": {Status: http.StatusForbidden, Type: "MissingAuthenticationToken"},
	"IncompleteSignatureException":        {Status: http.StatusBadRequest, Type: "IncompleteSignature"},
	"UnrecognizedClientException":         {Status: http.StatusForbidden, Type: "InvalidClientTokenId"},
	"InvalidSignatureException":           {Status: http.StatusForbidden, Type: "SignatureDoesNotMatch"},
	"AccessDeniedException":               {Status: http.StatusForbidden, Type: "AccessDenied"},
}

// queryNamespaces are the XML namespaces of the services of the query protocol,
// by the versions of their APIs.
var queryNamespaces = map[string]string{
	cloudFormationVersion: "http://cloudformation.amazonaws.com/doc/2010-05-15/",
	stsVersion:            "https://sts.amazonaws.com/doc/2011-06-15/",
}

// writeQueryError answers with an error of the query protocol, in the XML
// namespace of the API with that version.
func writeQueryError(w http.ResponseWriter, version string, e *apiError) {
	status, code := e.Status, e.Type
	if common, ok := queryCodes[code]; ok {
		status, code = common.Status, common.Type
	}
	if status == 0 {
		status = http.StatusBadRequest
	}
	var doc struct {
		XMLName   xml.Name
		Type      string `xml:"Error>Type"`
		Code      string `xml:"Error>Code"`
		Message   string `xml:"Error>Message"`
		RequestId string
	}
	doc.XMLName = xml.Name{Space: queryNamespaces[version], Local: "ErrorResponse"}
	doc.Type, doc.Code, doc.Message, doc.RequestId = "Sender", code, e.Message, uuid.NewString()
	if status >= 500 {
		doc.Type = "Receiver"
	}
	writeXML(w, status, doc)
}

func writeXML(w http.ResponseWriter, status int, doc any) {
	body, err := xml.Marshal(doc)
	if err != nil {
		panic(err) // strings and booleans encode
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	w.Write(body)
}
