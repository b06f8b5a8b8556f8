package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"agentcore-mcp-auth/pkg/localaws"
)

type policyProperties struct {
	PolicyName     string         `cfn:"required"`
	PolicyDocument map[string]any `cfn:"required"`
	Roles          []string       `cfn:"required"`
}

// policyName matches valid names of a role's policies.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html
var policyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)

func checkPolicyName(name string) error {
	if !policyName.MatchString(name) {
		return fmt.Errorf("PolicyName %.140q: want up to 128 letters, digits or any of _+=,.@-", name)
	}
	return nil
}

// policyType is a policy that applies to several roles of the stack.
var policyType = native[policyProperties]{
	attributes: []string{"Id"},
	made: func(_ context.Context, r *request, p policyProperties) (made, error) {
		id := r.name("", 128)
		m := made{id: id, attributes: map[string]any{"Id": id}}
		return m, r.stack.attach(id, p)
	},
	changed: func(_ context.Context, r *request, p, _ policyProperties) (made, error) {
		return made{id: r.id, attributes: r.attributes}, r.stack.attach(r.id, p)
	},
	removed: func(_ context.Context, r *request, _ policyProperties) error {
		return r.stack.attach(r.id, policyProperties{})
	},
}

type rolePolicyProperties struct {
	PolicyName     string         `cfn:"required,replace"`
	PolicyDocument map[string]any `cfn:"required"`
	RoleName       string         `cfn:"required,replace"`
}

// rolePolicyType is a named policy of one role. A change of the name makes
// another policy before the old one is deleted.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-rolepolicy.html
var rolePolicyType = native[rolePolicyProperties]{
	made: func(_ context.Context, r *request, p rolePolicyProperties) (made, error) {
		id := p.PolicyName + "|" + p.RoleName
		return made{id: id}, r.stack.attach(id, p.policy())
	},
	changed: func(_ context.Context, r *request, p, _ rolePolicyProperties) (made, error) {
		return made{id: r.id}, r.stack.attach(r.id, p.policy())
	},
	removed: func(_ context.Context, r *request, _ rolePolicyProperties) error {
		return r.stack.attach(r.id, policyProperties{})
	},
}

func (p rolePolicyProperties) policy() policyProperties {
	return policyProperties{PolicyName: p.PolicyName, PolicyDocument: p.PolicyDocument, Roles: []string{p.RoleName}}
}

// policies holds the documents of a stack's roles: their own, and those of
// policies that name them.
type policies struct {
	own      map[string]localaws.Role              // by name
	attached map[string]map[string]json.RawMessage // by role, by the policy's physical id
}

// ownRole records a role's own documents; nil forgets the role.
func (s *Stack) ownRole(name string, role *localaws.Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if role == nil {
		delete(s.policies.own, name)
		delete(s.policies.attached, name)
		return
	}
	s.policies.own[name] = *role
}

// applyRole gives a role all its documents.
func (s *Stack) applyRole(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock() // held until the role is updated, so that no concurrent change is lost
	role := s.policies.own[name]
	role.Policies = slices.Clone(role.Policies)
	for _, id := range slices.Sorted(maps.Keys(s.policies.attached[name])) {
		role.Policies = append(role.Policies, s.policies.attached[name][id])
	}
	return s.aws.UpdateRole(role)
}

// attach attaches a policy to exactly the roles that it names.
func (s *Stack) attach(id string, policy policyProperties) error {
	var doc json.RawMessage
	if len(policy.Roles) > 0 {
		err := checkPolicyName(policy.PolicyName)
		if err == nil {
			doc, err = document(policy.PolicyDocument)
		}
		if err != nil {
			return err
		}
	}
	touched, err := s.noteAttached(id, policy.Roles, doc)
	errs := []error{err}
	for _, role := range touched {
		errs = append(errs, s.applyRole(role))
	}
	return errors.Join(errs...)
}

// noteAttached records where a policy is attached and returns the roles whose
// documents change.
func (s *Stack) noteAttached(id string, roles []string, doc json.RawMessage) (touched []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, role := range roles {
		if _, ok := s.policies.own[role]; !ok {
			return nil, fmt.Errorf("Roles: %.200q is not of this stack, which is not implemented", role)
		}
	}
	for role, attached := range s.policies.attached {
		if _, had := attached[id]; had && !slices.Contains(roles, role) {
			delete(attached, id)
			touched = append(touched, role)
		}
	}
	for _, role := range roles {
		if s.policies.attached[role] == nil {
			s.policies.attached[role] = map[string]json.RawMessage{}
		}
		s.policies.attached[role][id] = doc
	}
	return append(touched, roles...), nil
}
