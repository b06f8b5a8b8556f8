package customresource

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/cfn"
)

// Limits on what an event may have its answer repeat. A stack's ARN, the
// longest, has some 250 bytes; with these the fixed part of an answer always
// leaves room for a reason within CloudFormation's 4,096 bytes.
const (
	maxID         = 512
	maxPhysicalID = 1024 // crpg-ref-responses, PhysicalResourceId
)

// decode reads an event as far as it can be read and says what is wrong with
// it. Member names count in their exact spelling. An id that cannot be repeated
// in an answer is left empty.
func decode(raw []byte) (cfn.Event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return cfn.Event{}, errors.New("the event is not a JSON object")
	}
	var e cfn.Event
	var problems []error
	read := func(name string, into any) {
		value, ok := members[name]
		if !ok {
			return
		}
		if err := json.Unmarshal(value, into); err != nil {
			problems = append(problems, fmt.Errorf("%s has the wrong type", name))
		}
	}
	text := func(name string, into *string) {
		read(name, into)
		if *into == "" {
			problems = append(problems, fmt.Errorf("%s is missing", name))
		} else if len(*into) > maxID || !plain(*into) {
			*into = ""
			problems = append(problems, fmt.Errorf("%s is longer than %d bytes or not printable ASCII", name, maxID))
		}
	}
	read("ResponseURL", &e.ResponseURL)
	read("RequestType", &e.RequestType)
	text("StackId", &e.StackID)
	text("RequestId", &e.RequestID)
	text("LogicalResourceId", &e.LogicalResourceID)
	read("ResourceType", &e.ResourceType)
	read("PhysicalResourceId", &e.PhysicalResourceID)
	read("ResourceProperties", &e.ResourceProperties)
	read("OldResourceProperties", &e.OldResourceProperties)

	if len(e.PhysicalResourceID) > maxPhysicalID {
		e.PhysicalResourceID = ""
		problems = append(problems, fmt.Errorf("PhysicalResourceId is longer than %d bytes", maxPhysicalID))
	}
	switch e.RequestType {
	case cfn.RequestCreate:
		e.PhysicalResourceID = "" // CloudFormation sends none
	case cfn.RequestUpdate, cfn.RequestDelete:
		if e.PhysicalResourceID == "" {
			problems = append(problems, errors.New("PhysicalResourceId is missing"))
		}
	default:
		problems = append(problems, fmt.Errorf("RequestType %.40q: want Create, Update or Delete", string(e.RequestType)))
	}
	if problems != nil {
		return e, &invalidEvent{problems}
	}
	return e, nil
}

// invalidEvent lists all that is wrong with an event on one line.
type invalidEvent struct{ problems []error }

func (e *invalidEvent) Error() string {
	var b strings.Builder
	b.WriteString("invalid custom resource event")
	for i, p := range e.problems {
		b.WriteString(map[bool]string{true: ": ", false: "; "}[i == 0])
		b.WriteString(p.Error())
	}
	return b.String()
}

// plain reports whether s is printable ASCII that JSON writes as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
