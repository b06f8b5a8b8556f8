package localaws

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Role is an IAM role. A request that is signed with its credentials may do only
// what its policies allow. The account's own credentials may do everything.
type Role struct {
	Name     string            // 1 to 64 letters, digits or any of _+=,.@-
	Policies []json.RawMessage // what it may do: policy documents
	Trust    json.RawMessage   // which services may assume it: the AssumeRolePolicyDocument
}

// roles are the roles of a stand-in and the credentials given out for them.
type roles struct {
	mu       sync.Mutex // guards what follows and everything reachable from it
	byARN    map[string]*role
	sessions map[string]*session // by access key id
}

type role struct {
	arn, name string
	policies  []*statement
	trust     []*statement
	needed    map[string]bool // grants that a request needed, as in UnusedGrants
}

// session is an assumed role: a name, and credentials of its own.
type session struct {
	role  *role
	name  string
	creds aws.Credentials
}

func newRoles() *roles {
	return &roles{byARN: map[string]*role{}, sessions: map[string]*session{}}
}

// roleName matches valid names of roles, and of sessions too.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var roleName = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)

func roleARN(name string) string { return "arn:aws:iam::" + Account + ":role/" + name }

func newRole(r Role) (*role, error) {
	if !roleName.MatchString(r.Name) {
		return nil, fmt.Errorf("Name %.80q: want 1 to 64 letters, digits or any of _+=,.@-", r.Name)
	}
	made := &role{arn: roleARN(r.Name), name: r.Name, needed: map[string]bool{}}
	var err error
	if made.policies, err = parsePolicies(r.Policies); err != nil {
		return nil, err
	}
	if made.trust, err = parseTrust(r.Trust); err != nil {
		return nil, err
	}
	return made, nil
}

// AddRole makes a role and returns its ARN. It refuses an existing name, and a
// document that IAM would refuse or that uses something the stand-in does not
// implement.
func (s *Server) AddRole(r Role) (arn string, err error) {
	made, err := newRole(r)
	if err != nil {
		return "", fmt.Errorf("adding role: %w", err)
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	for _, other := range s.iam.byARN {
		if strings.EqualFold(other.name, r.Name) { // IAM ignores the case of names
			return "", fmt.Errorf("adding role: a role %s exists; use UpdateRole to change it", other.name)
		}
	}
	s.iam.byARN[made.arn] = made
	return made.arn, nil
}

// UpdateRole replaces the documents of a role. They apply at once, also to
// credentials that were given out before.
func (s *Server) UpdateRole(r Role) error {
	made, err := newRole(r)
	if err != nil {
		return fmt.Errorf("updating role: %w", err)
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	old := s.iam.byARN[made.arn]
	if old == nil {
		return fmt.Errorf("updating role: there is no role %s", r.Name)
	}
	old.policies, old.trust = made.policies, made.trust
	return nil
}

// RemoveRole deletes a role and invalidates its credentials. A missing role is
// not an error.
func (s *Server) RemoveRole(name string) {
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	delete(s.iam.byARN, roleARN(name))
	maps.DeleteFunc(s.iam.sessions, func(_ string, c *session) bool { return c.role.name == name })
}

// assume gives out temporary credentials for a role. Their key begins with ASIA,
// and they are invalid without their session token.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
func (s *Server) assume(arn, name string) (aws.Credentials, error) {
	if !roleName.MatchString(name) {
		return aws.Credentials{}, fmt.Errorf("session %.80q: want 1 to 64 letters, digits or any of _+=,.@-", name)
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	role := s.iam.byARN[arn]
	if role == nil {
		return aws.Credentials{}, fmt.Errorf("there is no role %.200q; add it first", arn)
	}
	creds := aws.Credentials{AccessKeyID: "ASIA" + rand.Text()[:16], SecretAccessKey: rand.Text(), SessionToken: rand.Text() + rand.Text()}
	s.iam.sessions[creds.AccessKeyID] = &session{role, name, creds}
	return creds, nil
}

// RoleConfig is [Server.AWSConfig] with credentials of a role. session is the
// name that refusals call them by. It does not check the trust policy.
func (s *Server) RoleConfig(arn, session string) (aws.Config, error) {
	creds, err := s.assume(arn, session)
	if err != nil {
		return aws.Config{}, fmt.Errorf("assuming a role: %w", err)
	}
	cfg := s.AWSConfig()
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: creds}
	return cfg, nil
}

// RoleEnv is [Server.Env] with credentials of a role, for a process that acts as
// the role.
func (s *Server) RoleEnv(arn, session string) ([]string, error) {
	creds, err := s.assume(arn, session)
	if err != nil {
		return nil, fmt.Errorf("assuming a role: %w", err)
	}
	return s.env(creds), nil
}

// env returns the environment of a process that signs with creds.
func (s *Server) env(creds aws.Credentials) []string {
	env := []string{
		"AWS_ENDPOINT_URL=" + s.URL(),
		"AWS_REGION=" + s.cfg.Region,
		"AWS_DEFAULT_REGION=" + s.cfg.Region,
		"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + creds.SecretAccessKey,
		"AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	}
	if creds.SessionToken != "" {
		env = append(env, "AWS_SESSION_TOKEN="+creds.SessionToken)
	}
	return env
}

// accountCredentials may do everything.
var accountCredentials = aws.Credentials{AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey}

// credentialsOf finds credentials by their key id.
func (s *Server) credentialsOf(keyID string) (creds aws.Credentials, known bool) {
	if keyID == AccessKeyID {
		return accountCredentials, true
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	c := s.iam.sessions[keyID]
	if c == nil {
		return aws.Credentials{}, false
	}
	return c.creds, true
}

// access is a permission that a request needs, in the terms of IAM policies.
type access struct {
	action    string            // such as ssm:GetParameter
	resources []string          // ARNs, all of which must be allowed; none: the action has no resource and needs *
	context   map[string]string // condition keys in addition to the global ones, or in place of them
	granted   bool              // allowed by the resource's own policy, unless there is a Deny
}

// authorize refuses a request that its signer may not make, as the service
// would. The account's own credentials may do everything. The caller has checked
// the signature.
func (s *Server) authorize(r *http.Request, a access) *apiError {
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	refusal := s.authorizeKey(auth.accessKeyID, a)
	if refusal != nil && r.Header.Get("X-Amz-Target") == "" {
		refusal.Status = http.StatusForbidden // as REST services answer; those of the AWS JSON protocol answer 400
	}
	return refusal
}

// authorizeKey is authorize for a caller who is known by an access key id, such
// as the bearer of a registry token. The messages are those of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func (s *Server) authorizeKey(keyID string, a access) *apiError {
	if keyID == AccessKeyID {
		return nil
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	c := s.iam.sessions[keyID]
	if c == nil {
		return errorf("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	resource, how := s.decide(c.role, a)
	if how == allowed {
		return nil
	}
	reason := "because no identity-based policy allows the " + a.action + " action"
	if how == explicitlyDenied {
		reason = "with an explicit deny in an identity-based policy"
	}
	return errorf("AccessDeniedException", "User: arn:aws:sts::%s:assumed-role/%s/%s is not authorized to perform: %s on resource: %s %s",
		Account, c.role.name, c.name, a.action, resource, reason)
}

// Allowed reports whether a role may do action on a resource. It is for services
// that use somebody's role: Lambda for an event source, AgentCore for an image.
// An empty resource means that the action has none.
func (s *Server) Allowed(arn, action, resource string, context map[string]string) bool {
	a := access{action: action, context: context}
	if resource != "" {
		a.resources = []string{resource}
	}
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	role := s.iam.byARN[arn]
	if role == nil {
		return false
	}
	_, how := s.decide(role, a)
	return how == allowed
}

// decide evaluates the policies of role and returns the first resource that they
// refuse. The caller holds the lock.
func (s *Server) decide(role *role, a access) (resource string, how decision) {
	context := map[string]string{
		"aws:requestedregion":  s.cfg.Region,
		"aws:principalarn":     role.arn,
		"aws:principalaccount": Account,
	}
	for k, v := range a.context {
		context[strings.ToLower(k)] = v
	}
	var needed []string
	for _, resource := range orAny(a.resources) {
		how, grants := evaluate(role.policies, permission{action: a.action, resource: resource, context: context})
		if how != allowed && !(how == implicitlyDenied && a.granted) {
			return resource, how
		}
		if !a.granted {
			needed = append(needed, grants...)
		}
	}
	for _, line := range needed {
		role.needed[line] = true
	}
	return "", allowed
}

// orAny returns resources, or one placeholder for an action without resources.
func orAny(resources []string) []string {
	if len(resources) == 0 {
		return []string{"*"}
	}
	return resources
}

// assumable reports whether a service may assume a role for one of its
// resources.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
func (s *Server) assumable(arn, service, source string) bool {
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	role := s.iam.byARN[arn]
	if role == nil {
		return false
	}
	how, _ := evaluate(role.trust, permission{action: "sts:AssumeRole", service: service, context: map[string]string{
		"aws:sourceaccount": Account, "aws:sourcearn": source,
	}})
	return how == allowed
}

// UnusedGrants names every action and every resource in the Allow statements of
// a role that no request so far has needed, sorted, one line each:
//
//	{Sid}: action {action}
//	{Sid}: resource {resource}
//
// A statement without a Sid is "policy 1 statement 2". Needed is what the role
// could not do without: of two grants that overlap, neither is needed by what
// both allow. Questions of [Server.Allowed] count as requests.
func (s *Server) UnusedGrants(arn string) ([]string, error) {
	s.iam.mu.Lock()
	defer s.iam.mu.Unlock()
	role := s.iam.byARN[arn]
	if role == nil {
		return nil, fmt.Errorf("listing unused grants: there is no role %.200q", arn)
	}
	var unused []string
	for _, st := range role.policies {
		for _, line := range st.grants() {
			if !role.needed[line] {
				unused = append(unused, line)
			}
		}
	}
	slices.Sort(unused)
	return unused, nil
}

// serveSigned serves one request of an AWS JSON service. It checks the signature
// and the permissions that needs returns before it serves the request.
func (s *Server) serveSigned(w http.ResponseWriter, r *http.Request, rec *Record, service string, ops map[string]operation, needs func(*Record) []access) {
	refusal := s.checkSignature(r, rec.RequestBody, service)
	if refusal == nil && ops[rec.Operation] != nil {
		refusal = s.authorizeAll(r, needs(rec))
	}
	if refusal != nil {
		writeError(w, refusal)
		return
	}
	serveJSON(w, r, rec, ops)
}

// authorizeAll is authorize for a request that needs several permissions.
func (s *Server) authorizeAll(r *http.Request, needs []access) *apiError {
	for _, a := range needs {
		if err := s.authorize(r, a); err != nil {
			return err
		}
	}
	return nil
}
