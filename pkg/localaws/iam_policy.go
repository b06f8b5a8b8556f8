package localaws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// statement is one statement of a policy.
type statement struct {
	label      string // its Sid, or its place
	allow      bool
	actions    []string // patterns
	resources  []string // patterns; a trust policy has none
	services   []string // that a trust policy trusts
	conditions []condition
}

// permission is a question to policies.
type permission struct {
	action   string
	resource string            // of an identity-based policy
	service  string            // that wants to assume a role
	context  map[string]string // by condition key in lower case
}

type decision string

const (
	allowed          decision = "allowed"
	explicitlyDenied decision = "denied by a statement"
	implicitlyDenied decision = "allowed by no statement"
)

// evaluate decides on a permission: a matching Deny wins, or else one matching
// Allow is enough, or else the answer is no. needed are the grants without which
// the answer would have been different.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
func evaluate(statements []*statement, q permission) (how decision, needed []string) {
	how = implicitlyDenied
	for _, st := range statements {
		for _, grant := range st.matches(q) {
			switch {
			case !st.allow:
				return explicitlyDenied, nil
			case how != allowed:
				how, needed = allowed, grant
			default: // another statement allows it too: only what both share is needed
				needed = slices.DeleteFunc(needed, func(line string) bool { return !slices.Contains(grant, line) })
			}
		}
	}
	return how, needed
}

// matches returns each pair of an action and a resource of the statement that
// covers q, as lines of [Server.UnusedGrants].
//
// The case of actions does not matter, that of resources does.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func (st *statement) matches(q permission) (grants [][]string) {
	for _, c := range st.conditions {
		if !c.holds(q.context) {
			return nil
		}
	}
	for _, action := range st.actions {
		if !wildcard(strings.ToLower(action), strings.ToLower(q.action)) {
			continue
		}
		if st.services != nil && slices.Contains(st.services, q.service) {
			grants = append(grants, []string{st.actionLine(action)})
		}
		for _, resource := range st.resources {
			if resource == "*" || arnLike(resource, q.resource) {
				grants = append(grants, []string{st.actionLine(action), st.resourceLine(resource)})
			}
		}
	}
	return grants
}

func (st *statement) actionLine(action string) string     { return st.label + ": action " + action }
func (st *statement) resourceLine(resource string) string { return st.label + ": resource " + resource }

// grants returns the lines of an Allow statement.
func (st *statement) grants() (lines []string) {
	if !st.allow {
		return nil
	}
	for _, action := range st.actions {
		lines = append(lines, st.actionLine(action))
	}
	for _, resource := range st.resources {
		lines = append(lines, st.resourceLine(resource))
	}
	return lines
}

// Size limits, not counting white space between elements: all inline policies of
// a role together, and a trust policy.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	maxPolicies = 10240
	maxTrust    = 2048
)

// parsePolicies reads the policy documents of a role.
func parsePolicies(docs []json.RawMessage) ([]*statement, error) {
	var all []*statement
	size := 0
	for i, doc := range docs {
		statements, n, err := parseDocument(doc, fmt.Sprintf("policy %d statement", i+1), (*statementDocument).policy)
		if err != nil {
			return nil, fmt.Errorf("Policies[%d]: %w", i, err)
		}
		all, size = append(all, statements...), size+n
	}
	if size > maxPolicies {
		return nil, fmt.Errorf("Policies: %d characters, of which a role's inline policies may have %d", size, maxPolicies)
	}
	return all, nil
}

// parseTrust reads a role's trust policy.
func parseTrust(doc json.RawMessage) ([]*statement, error) {
	statements, size, err := parseDocument(doc, "statement", (*statementDocument).trust)
	if err == nil && size > maxTrust {
		err = fmt.Errorf("%d characters, of which a trust policy may have %d", size, maxTrust)
	}
	if err != nil {
		return nil, fmt.Errorf("Trust: %w", err)
	}
	return statements, nil
}

// statementDocument is the JSON form of a statement. Elements that are missing
// here (NotAction, NotResource, NotPrincipal) are not implemented.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type statementDocument struct {
	Sid, Effect                            string
	Action, Resource, Principal, Condition json.RawMessage
}

// oneOrMany reads a string or a list of strings.
func oneOrMany(element string, raw json.RawMessage) ([]string, error) {
	var many []string
	var one string
	if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &one) == nil {
		many = []string{one}
	} else if raw != nil && json.Unmarshal(raw, &many) != nil {
		return nil, fmt.Errorf("%s: want a string or a list of strings", element)
	}
	if len(many) == 0 {
		return nil, fmt.Errorf("%s: want at least one", element)
	}
	return many, nil
}

var validSid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

// parseDocument reads one policy document. place names a statement without a
// Sid. read reads what differs between the two kinds of policy.
func parseDocument(raw json.RawMessage, place string, read func(*statementDocument, *statement) error) (all []*statement, size int, err error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil || compact.Bytes()[0] != '{' {
		return nil, 0, errors.New("want a policy document in JSON")
	}
	var doc struct {
		Version, Id string
		Statement   json.RawMessage
	}
	if err := decode(raw, &doc); err != nil {
		return nil, 0, errors.New(err.Message)
	}
	if doc.Version != "2012-10-17" {
		return nil, 0, fmt.Errorf(`Version %.40q: want "2012-10-17"`, doc.Version)
	}
	var list []json.RawMessage
	if json.Unmarshal(doc.Statement, &list) != nil { // a single statement need not be in a list
		list = []json.RawMessage{doc.Statement}
	}
	if len(list) == 0 || doc.Statement == nil {
		return nil, 0, errors.New("Statement: want at least one")
	}
	sids := map[string]bool{}
	for i, raw := range list {
		label := fmt.Sprintf("%s %d", place, i+1)
		if raw[0] != '{' {
			return nil, 0, fmt.Errorf("%s: want an object", label)
		}
		var d statementDocument
		if err := decode(raw, &d); err != nil {
			return nil, 0, fmt.Errorf("%s: %s", label, err.Message)
		}
		switch {
		case !validSid.MatchString(d.Sid):
			return nil, 0, fmt.Errorf("%s: Sid %.80q: want letters and digits", label, d.Sid)
		case d.Sid != "" && sids[d.Sid]:
			return nil, 0, fmt.Errorf("%s: Sid %s occurs twice", label, d.Sid)
		case d.Sid != "":
			sids[d.Sid], label = true, d.Sid
		}
		st := &statement{label: label}
		err := d.common(st)
		if err == nil {
			err = read(&d, st)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", label, err)
		}
		all = append(all, st)
	}
	return all, compact.Len(), nil
}

var validAction = regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z0-9*?]+$`)

// common reads the elements that every statement has.
func (d *statementDocument) common(st *statement) (err error) {
	switch d.Effect {
	case "Allow", "Deny":
		st.allow = d.Effect == "Allow"
	default:
		return fmt.Errorf("Effect %.40q: want Allow or Deny", d.Effect)
	}
	if st.actions, err = oneOrMany("Action", d.Action); err != nil {
		return err
	}
	for _, action := range st.actions {
		if action != "*" && !validAction.MatchString(action) {
			return fmt.Errorf("Action %.80q: want service:Name, such as ssm:GetParameter", action)
		}
	}
	st.conditions, err = parseConditions(d.Condition)
	return err
}

// policy reads the elements of an identity-based policy's statement.
func (d *statementDocument) policy(st *statement) (err error) {
	if d.Principal != nil {
		return errors.New("Principal: an identity-based policy is about the role that has it")
	}
	if st.resources, err = oneOrMany("Resource", d.Resource); err != nil {
		return err
	}
	for _, resource := range st.resources {
		if err := checkResource(resource); err != nil {
			return err
		}
	}
	return nil
}

// checkResource refuses a text that is not a pattern of ARNs. IAM lets a
// wildcard match several segments. A pattern that relies on this is refused
// here, and so is one that does not name partition and service.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func checkResource(resource string) error {
	segments := strings.SplitN(resource, ":", 6)
	switch {
	case resource == "*":
		return nil
	case strings.Contains(resource, "${"):
		return fmt.Errorf("Resource %.200q: localaws does not implement policy variables", resource)
	case segments[0] != "arn" || len(segments) < 6 || segments[5] == "":
		return fmt.Errorf(`Resource %.200q must be in ARN format, with all of its six segments, or "*"`, resource)
	case strings.ContainsAny(segments[1]+segments[2], "*?"), segments[1] == "", segments[2] == "":
		return fmt.Errorf("Resource %.200q: the partition and the service must be named", resource)
	}
	return nil
}

var servicePrincipal = regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com$`)

// trust reads the elements of a trust policy's statement. It accepts only
// services as principals.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
func (d *statementDocument) trust(st *statement) (err error) {
	if d.Resource != nil {
		return errors.New("Resource: a trust policy is about the role that has it")
	}
	for _, action := range st.actions {
		if !strings.HasPrefix(action, "sts:") {
			return fmt.Errorf("Action %.80q: a trust policy is about actions such as sts:AssumeRole", action)
		}
	}
	if d.Principal == nil || d.Principal[0] != '{' {
		return errors.New(`Principal: want {"Service": …}; localaws implements no other`)
	}
	var principal struct{ Service json.RawMessage }
	if err := decode(d.Principal, &principal); err != nil {
		return fmt.Errorf("Principal: %s", err.Message)
	}
	if st.services, err = oneOrMany("Principal", principal.Service); err != nil {
		return err
	}
	for _, service := range st.services {
		if !servicePrincipal.MatchString(service) {
			return fmt.Errorf("Principal %.80q: want a service such as lambda.amazonaws.com", service)
		}
	}
	return nil
}
