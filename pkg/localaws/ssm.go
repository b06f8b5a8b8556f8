package localaws

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Parameter is a parameter of Parameter Store, with its value in the clear.
type Parameter struct {
	Name        string
	Type        string // String, StringList or SecureString
	Value       string
	Version     int64
	Modified    time.Time
	Tier        string // Standard or Advanced
	KeyID       string // of a SecureString; empty: the account's aws/ssm key
	Description string
	Tags        map[string]string
}

// Parameters returns a copy of every parameter, by name.
func (s *Server) Parameters() map[string]Parameter {
	p := s.ssm
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]Parameter{}
	for name, param := range p.parameters {
		kept := param.Parameter
		kept.Tags = maps.Clone(kept.Tags)
		all[name] = kept
	}
	return all
}

// parameter is a Parameter, and the text that readers without decryption get for
// a SecureString.
type parameter struct {
	Parameter
	ciphertext string
}

// parameterStore stands in for SSM Parameter Store.
type parameterStore struct {
	s   *Server
	ops map[string]operation

	mu         sync.Mutex            // guards parameters, map and contents
	parameters map[string]*parameter // by name
}

func newParameterStore(s *Server) *parameterStore {
	p := &parameterStore{s: s, parameters: map[string]*parameter{}}
	p.ops = map[string]operation{
		"PutParameter":           opFrom(&p.mu, p.put),
		"GetParameter":           opFrom(&p.mu, p.get),
		"GetParameters":          opFrom(&p.mu, p.getAll),
		"GetParametersByPath":    opFrom(&p.mu, p.getByPath),
		"DescribeParameters":     op(&p.mu, p.describe),
		"DeleteParameter":        op(&p.mu, p.delete),
		"DeleteParameters":       op(&p.mu, p.deleteAll),
		"AddTagsToResource":      op(&p.mu, p.addTags),
		"RemoveTagsFromResource": op(&p.mu, p.removeTags),
		"ListTagsForResource":    op(&p.mu, p.listTags),
	}
	return p
}

func (p *parameterStore) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	p.s.serveSigned(w, r, rec, "ssm", p.ops, p.needs)
}

// needs returns the permissions that an operation needs: its own action, on each
// parameter that the request names, or on the path as the request writes it,
// whatever parameters are found below it. DescribeParameters has no resource.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
// https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-retrieval-authorization.html
func (p *parameterStore) needs(rec *Record) []access {
	var in struct {
		Name, Path, ResourceId string
		Names                  []string
		Tags                   []json.RawMessage
	}
	json.Unmarshal(rec.RequestBody, &in) // the operation reports what is wrong with the body
	a := access{action: "ssm:" + rec.Operation}
	for _, name := range append(in.Names, in.Name, in.Path, in.ResourceId) {
		if name != "" {
			a.resources = append(a.resources, p.arn(name))
		}
	}
	if rec.Operation == "PutParameter" && len(in.Tags) > 0 {
		return []access{a, {action: "ssm:AddTagsToResource", resources: a.resources}}
	}
	return []access{a}
}

// Limits of Parameter Store.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
const (
	standardValue      = 4 << 10
	advancedValue      = 8 << 10
	standardParameters = 10_000
	hierarchyDepth     = 15
	arnLength          = 1011 // name and the part of the ARN before it
	namesPerCall       = 10
)

var (
	parameterName = textRule{"ValidationException", 1, 2048, regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)}
	keyIDRule     = textRule{"ValidationException", 1, 256, regexp.MustCompile(`^([a-zA-Z0-9:/_-]+)$`)}
	described     = textRule{"ValidationException", 0, 1024, nil}
	nested        = regexp.MustCompile(`(?s)\{\{.*\}\}`)
)

func (p *parameterStore) arn(name string) string {
	return "arn:aws:ssm:" + p.s.cfg.Region + ":" + Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// checkName applies the naming constraints of the PutParameter page. Names with
// spaces around them are refused too, although the service trims them.
func (p *parameterStore) checkName(name string) *apiError {
	if err := parameterName.check("name", name); err != nil {
		return err
	}
	lower := strings.ToLower(strings.TrimPrefix(name, "/"))
	levels := strings.Count(strings.TrimPrefix(name, "/"), "/") + 1
	switch {
	case strings.Contains(name, "/") && name[0] != '/':
		return errorf("ValidationException", "Parameter name must be a fully qualified name.")
	case strings.HasSuffix(name, "/"), strings.Contains(name, "//"):
		return errorf("ValidationException", "Parameter name must not end with a slash or have an empty level.")
	case strings.HasPrefix(lower, "aws"), strings.HasPrefix(lower, "ssm"):
		return errorf("ValidationException", `Parameter name: can't be prefixed with "aws" or "ssm" (case-insensitive).`)
	case levels > hierarchyDepth:
		return errorf("HierarchyLevelLimitExceededException", "The hierarchy of the parameter name has %d levels; the maximum is %d.", levels, hierarchyDepth)
	case len(p.arn(name)) > arnLength:
		return errorf("ValidationException", "Parameter name is too long: with the ARN before it, it may have %d characters.", arnLength)
	}
	return nil
}

type putParameterInput struct {
	Name, Value, Type, Tier, DataType string
	Description, KeyId                *string
	Overwrite                         bool
	Tags                              []tag
}

func (p *parameterStore) put(r *http.Request, in *putParameterInput) (any, *apiError) {
	if err := cmp.Or(
		p.checkName(in.Name),
		checkEnum("ValidationException", "type", in.Type, "String", "StringList", "SecureString"),
		checkEnum("ValidationException", "tier", in.Tier, "Standard", "Advanced", "Intelligent-Tiering"),
		checkEnum("ValidationException", "dataType", in.DataType, "text", "aws:ec2:image", "aws:ssm:integration"),
		described.checkOptional("description", in.Description),
		keyIDRule.checkOptional("keyId", in.KeyId),
		checkTags(in.Tags),
	); err != nil {
		return nil, err
	}
	if in.DataType != "" && in.DataType != "text" {
		return nil, unimplemented("DataType %s", in.DataType)
	}
	old := p.parameters[in.Name]
	if err := p.checkPut(in, old); err != nil {
		return nil, err
	}
	tier, err := p.tier(in, old)
	if err != nil {
		return nil, err
	}
	// The new version replaces the old one as a whole, so that Parameters never
	// returns half of it.
	param := &parameter{Parameter: Parameter{
		Name: in.Name, Type: in.Type, Value: in.Value, Version: 1, Modified: p.s.cfg.Now(), Tier: tier, Tags: map[string]string{},
	}}
	if old != nil {
		param.Type, param.Version, param.Tags = old.Type, old.Version+1, old.Tags
		param.Description = old.Description
	}
	for _, t := range in.Tags {
		param.Tags[t.Key] = *t.Value
	}
	// Without a KeyId the account's aws/ssm key is used, even if another key
	// encrypted the previous version.
	// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
	if in.KeyId != nil {
		param.KeyID = *in.KeyId
	}
	if in.Description != nil {
		param.Description = *in.Description
	}
	if param.Type == "SecureString" {
		if err := p.encrypts(r, param); err != nil {
			return nil, err
		}
		param.ciphertext = ciphertext()
	}
	p.parameters[in.Name] = param
	return struct {
		Version int64
		Tier    string
	}{param.Version, param.Tier}, nil
}

// checkPut applies the rules for overwriting old, or for a new parameter if old
// is nil.
func (p *parameterStore) checkPut(in *putParameterInput, old *parameter) *apiError {
	typ := in.Type
	if typ == "" && old != nil {
		typ = old.Type
	}
	switch {
	case in.Overwrite && len(in.Tags) > 0:
		return errorf("ValidationException", "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	case old != nil && !in.Overwrite:
		return errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	case typ == "":
		return errorf("ValidationException", "A parameter type is required when you create a parameter.")
	case old != nil && typ != old.Type:
		return errorf("HierarchyTypeMismatchException", "Parameter Store does not support changing a parameter type in a hierarchy: %s is of type %s.", in.Name, old.Type)
	case in.KeyId != nil && typ != "SecureString":
		return errorf("ValidationException", "KeyId is only for parameters of type SecureString.")
	case in.Value == "":
		return errorf("ValidationException", "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case nested.MatchString(in.Value):
		return errorf("ValidationException", `Parameter value can't nest another parameter. Do not use "{{}}" in the value.`)
	case typ == "StringList" && slices.Contains(strings.Split(in.Value, ","), ""):
		return errorf("ValidationException", "A StringList must not have an empty item.")
	}
	return nil
}

// tier returns the tier of a write. An Advanced parameter stays Advanced, and
// only an Advanced one may be larger than 4 KB.
func (p *parameterStore) tier(in *putParameterInput, old *parameter) (string, *apiError) {
	tier := in.Tier
	switch {
	case old != nil && old.Tier == "Advanced":
		if tier == "Standard" {
			return "", errorf("ValidationException", "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier.")
		}
		tier = "Advanced"
	case tier == "Intelligent-Tiering" && len(in.Value) > standardValue:
		tier = "Advanced"
	case tier != "Advanced":
		tier = "Standard"
	}
	switch {
	case tier == "Standard" && len(in.Value) > standardValue:
		return "", errorf("ValidationException", "Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier.", standardValue)
	case len(in.Value) > advancedValue:
		return "", errorf("ValidationException", "Advanced tier parameters support a maximum parameter value of %d characters.", advancedValue)
	case old == nil && tier == "Standard" && p.standardCount() >= standardParameters:
		return "", errorf("ParameterLimitExceeded", "The limit of %d standard parameters is reached.", standardParameters)
	}
	return tier, nil
}

func (p *parameterStore) standardCount() (n int) {
	for _, param := range p.parameters {
		if param.Tier == "Standard" {
			n++
		}
	}
	return n
}

// ciphertext returns the text that a reader without decryption gets for a
// SecureString. It looks like a KMS blob and does not depend on the value.
func ciphertext() string {
	blob := make([]byte, 96)
	rand.Read(blob)
	return base64.StdEncoding.EncodeToString(append([]byte{1, 2, 2, 0}, blob...))
}

func (p *parameterStore) delete(in *struct{ Name string }) (any, *apiError) {
	if err := parameterName.check("name", in.Name); err != nil {
		return nil, err
	}
	if p.parameters[in.Name] == nil {
		return nil, errorf("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	delete(p.parameters, in.Name)
	return nil, nil
}

func (p *parameterStore) deleteAll(in *struct{ Names []string }) (any, *apiError) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	deleted, invalid := []string{}, []string{}
	for _, name := range in.Names {
		if p.parameters[name] == nil {
			invalid = append(invalid, name)
			continue
		}
		delete(p.parameters, name)
		deleted = append(deleted, name)
	}
	return struct{ DeletedParameters, InvalidParameters []string }{deleted, invalid}, nil
}
