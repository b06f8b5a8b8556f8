package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/smithy-go"

	"agentcore-mcp-auth/pkg/credstore"
)

// ResourceType is the CloudFormation type that a Handler serves.
const ResourceType = "Custom::MCPClient"

// Handler serves the CloudFormation custom resource Custom::MCPClient. Package
// customresource calls its Handle and answers CloudFormation. It is safe for
// concurrent use.
type Handler struct {
	// Provisioner is copied for each event, which gives owner and prefix.
	Provisioner *Provisioner
}

// Handle makes the resource what the event asks for and returns its physical id
// and attributes. The id consists of what cannot change without a replacement:
// parameter prefix, server name and user pool. A failed Create returns the id
// too, so that the Delete that follows removes what was made.
func (h *Handler) Handle(ctx context.Context, e cfn.Event) (physicalID string, data map[string]any, err error) {
	if err := checkEvent(e); err != nil {
		return e.PhysicalResourceID, nil, err
	}
	if e.RequestType == cfn.RequestDelete {
		return e.PhysicalResourceID, nil, h.delete(ctx, e)
	}
	d, prefix, err := Decode(e.ResourceProperties)
	if err != nil {
		return e.PhysicalResourceID, nil, err
	}
	p := h.forEvent(e, prefix)
	if err := p.check(d); err != nil {
		return e.PhysicalResourceID, nil, err
	}
	id := physicalIDOf(d, p.prefix())
	if old, prefix, err := Decode(e.OldResourceProperties); err == nil && old.Name == d.Name {
		d.former = h.forEvent(e, prefix).newRun(old, false).label()
	}
	res, err := p.Ensure(ctx, d)
	for waited := time.Duration(0); isDenied(err) && waited < rightsWithin; waited += rightsPause {
		if p.wait(ctx, rightsPause) != nil {
			break
		}
		p.logger().Info("trying again: a right of this deployment may not be everywhere yet", "reason", err.Error())
		res, err = p.Ensure(ctx, d)
	}
	if err != nil {
		if e.RequestType == cfn.RequestUpdate {
			id = e.PhysicalResourceID // the id does not change
		}
		return id, nil, err
	}
	if e.RequestType == cfn.RequestUpdate {
		if old, prefix, ok := parsePhysicalID(e.PhysicalResourceID); ok && e.PhysicalResourceID != id {
			same, err := h.forEvent(e, prefix).same(ctx, old, res)
			if err != nil {
				return e.PhysicalResourceID, nil, err
			}
			if same { // nothing is replaced: a Delete of the old id would remove the resource
				id = e.PhysicalResourceID
			}
		}
		if err := h.removeAbandoned(ctx, e, id, res); err != nil {
			return id, nil, err
		}
	}
	return id, map[string]any{
		"UserPoolId":    res.UserPoolID,
		"ClientId":      res.ClientID,
		"DiscoveryUrl":  res.DiscoveryURL,
		"Issuer":        res.Issuer,
		"TokenEndpoint": res.TokenEndpoint,
		"Scope":         res.Scope,
		"ParameterPath": res.ParameterPath,
	}, nil
}

// Permissions that the same deployment gave the function take time to become
// effective everywhere.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
const (
	rightsWithin = 20 * time.Second
	rightsPause  = 4 * time.Second
)

func isDenied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException"
}

// forEvent returns the provisioner for the stack and the resource of the event.
func (h *Handler) forEvent(e cfn.Event, prefix string) *Provisioner {
	p := *h.Provisioner
	p.Owner, p.Resource, p.Prefix = e.StackID, e.LogicalResourceID, prefix
	p.Logger = p.logger().With(slog.String("request_id", e.RequestID), slog.String("logical_id", e.LogicalResourceID))
	return &p
}

// delete removes what the event's physical id names. An id that was never issued
// follows a Create that failed before it had one: then the properties say what
// may exist. If they are not valid, that Create was refused and made nothing.
func (h *Handler) delete(ctx context.Context, e cfn.Event) error {
	d, prefix, decodeErr := Decode(e.ResourceProperties)
	if id, idPrefix, ok := parsePhysicalID(e.PhysicalResourceID); ok {
		prefix = idPrefix
		d = Desired{Name: id.Name, UserPoolID: id.UserPoolID, RetainOnDelete: retains(e.ResourceProperties)}
	} else if decodeErr != nil {
		h.Provisioner.logger().Info("nothing to delete: the properties were refused", "reason", decodeErr.Error())
		return nil
	}
	p := h.forEvent(e, prefix)
	// Properties that only Ensure uses must not stop a removal.
	d = Desired{Name: d.Name, UserPoolID: d.UserPoolID, RetainOnDelete: d.RetainOnDelete}
	if err := p.check(d); err != nil {
		p.logger().Info("nothing to delete: the properties were refused", "reason", err.Error())
		return nil
	}
	_, err := p.Remove(ctx, d)
	return err
}

// same reports whether the identity is another name for res's server: a pool
// that was made or adopted here may be given by its id or left out.
func (p *Provisioner) same(ctx context.Context, identity Desired, res Result) (bool, error) {
	r := p.newRun(identity, true)
	if r.store().Path(identity.Name) != res.ParameterPath {
		return false, nil
	}
	if identity.UserPoolID != "" { // the role may no longer have access to it
		return identity.UserPoolID == res.UserPoolID, nil
	}
	set, err := r.read(ctx)
	if err != nil {
		return false, err
	}
	_, poolID, _, err := r.removalTarget(ctx, set)
	return poolID == res.UserPoolID, err
}

// removeAbandoned removes what an Update made under another identity before it
// failed. CloudFormation rolls back with an Update in the other direction. It
// sends no Delete, because it was never told of the identity.
func (h *Handler) removeAbandoned(ctx context.Context, e cfn.Event, id string, res Result) error {
	old, prefix, err := Decode(e.OldResourceProperties)
	if err != nil {
		return nil
	}
	p := h.forEvent(e, prefix)
	abandoned := physicalIDOf(old, p.prefix())
	if p.check(old) != nil || abandoned == id || e.PhysicalResourceID != id {
		return nil
	}
	old = Desired{Name: old.Name, UserPoolID: old.UserPoolID}
	if same, err := p.same(ctx, old, res); err != nil || same {
		return err
	}
	_, err = p.Remove(ctx, old)
	return err
}

// ownPool stands for a pool that is made here in a physical id.
const ownPool = "own-pool"

func physicalIDOf(d Desired, prefix string) string {
	return "mcp-client:" + prefix + "/" + d.Name + ":" + cmp.Or(d.UserPoolID, ownPool)
}

func parsePhysicalID(id string) (d Desired, prefix string, ok bool) {
	parts := strings.Split(id, ":")
	if len(parts) != 3 || parts[0] != "mcp-client" {
		return d, "", false
	}
	i := strings.LastIndexByte(parts[1], '/')
	if i < 0 {
		return d, "", false
	}
	prefix, d.Name, d.UserPoolID = parts[1][:i], parts[1][i+1:], parts[2]
	if d.UserPoolID == ownPool {
		d.UserPoolID = ""
	}
	ok = credstore.CheckPrefix(prefix) == nil && credstore.CheckName(d.Name) == nil &&
		(d.UserPoolID == "" || validPool.MatchString(d.UserPoolID))
	return d, prefix, ok
}

var (
	validStack   = regexp.MustCompile(`^arn:aws[a-z-]*:cloudformation:[a-z0-9-]+:[0-9]{12}:stack/[A-Za-z0-9-]{1,128}/[A-Za-z0-9-]{1,64}$`)
	validLogical = regexp.MustCompile(`^[A-Za-z0-9]{1,255}$`)
)

// checkEvent refuses an event that does not come from CloudFormation.
func checkEvent(e cfn.Event) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch e.RequestType {
	case cfn.RequestCreate:
	case cfn.RequestUpdate, cfn.RequestDelete:
		if e.PhysicalResourceID == "" {
			refuse("PhysicalResourceId is missing in the %s event", e.RequestType)
		}
	default:
		refuse("RequestType %.40q: want Create, Update or Delete", e.RequestType)
	}
	if e.RequestID == "" {
		refuse("RequestId is missing")
	}
	if !validStack.MatchString(e.StackID) {
		refuse("StackId %.80q: want the ARN of a stack", e.StackID)
	}
	if !validLogical.MatchString(e.LogicalResourceID) {
		refuse("LogicalResourceId %.80q: want letters and digits", e.LogicalResourceID)
	}
	if e.ResourceType != ResourceType {
		refuse("ResourceType %.80q: want %s", e.ResourceType, ResourceType)
	}
	return errors.Join(errs...)
}

// Decode reads the properties of a Custom::MCPClient, whose scalars
// CloudFormation sends as strings. It refuses unknown, missing and mistyped ones
// by name. [Provisioner.Ensure] checks their values before its first call.
func Decode(props map[string]any) (d Desired, prefix string, err error) {
	p := properties{left: map[string]bool{}, props: props}
	for name := range props {
		p.left[name] = true
	}
	p.text("ServiceToken") // this and the next belong to CloudFormation
	delete(p.left, "ServiceTimeout")

	d.Name = p.text("McpName")
	if d.Name == "" {
		p.refuse("McpName is missing: the name of the MCP server")
	}
	prefix = cmp.Or(p.text("ParameterPrefix"), credstore.DefaultPrefix)
	d.UserPoolID = p.text("UserPoolId")
	d.DomainPrefix = p.text("DomainPrefix")
	d.Scopes = p.list("Scopes")
	d.AccessTokenMinutes = p.number("AccessTokenMinutes")
	d.KMSKeyID = p.text("KmsKeyId")
	d.SecretVersion = p.scalar("SecretVersion")
	d.RetainOnDelete = p.truth("RetainOnDelete")
	d.Adopt = p.truth("Adopt")
	for name := range p.left {
		p.refuse("property %.80q is unknown", name)
	}
	p.errs = append(p.errs, credstore.CheckPrefix(prefix))
	return d, prefix, errors.Join(p.errs...)
}

// properties takes properties out of an event and collects errors.
type properties struct {
	props map[string]any
	left  map[string]bool // not taken yet
	errs  []error
}

func (p *properties) refuse(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

// take returns the property, or nil when it is absent.
func (p *properties) take(name string) any {
	delete(p.left, name)
	return p.props[name]
}

func (p *properties) text(name string) string {
	switch v := p.take(name).(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		p.refuse("%s: want a string, got %T", name, v)
		return ""
	}
}

// scalar returns a text that may have been written as a number.
func (p *properties) scalar(name string) string {
	if v, ok := p.props[name].(float64); ok {
		delete(p.left, name)
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return p.text(name)
}

func (p *properties) truth(name string) bool {
	v := p.take(name)
	switch v {
	case nil, "", false, "false":
		return false
	case true, "true":
		return true
	}
	p.refuse("%s: want true or false, got %.40q", name, fmt.Sprint(v))
	return false
}

func (p *properties) number(name string) int32 {
	switch v := p.take(name).(type) {
	case nil:
		return 0
	case float64:
		if v == math.Trunc(v) && v >= 1 && v <= math.MaxInt32 {
			return int32(v)
		}
		p.refuse("%s: want a whole number, got %v", name, v)
	case string:
		if v == "" {
			return 0
		}
		n, err := strconv.ParseInt(v, 10, 32)
		if err == nil && n >= 1 {
			return int32(n)
		}
		p.refuse("%s: want a whole number, got %.40q", name, v)
	default:
		p.refuse("%s: want a whole number, got %T", name, v)
	}
	return 0
}

// list returns a list of strings, or the parts of a comma-separated string.
func (p *properties) list(name string) []string {
	switch v := p.take(name).(type) {
	case nil:
		return nil
	case string:
		if v == "" {
			return nil
		}
		items := strings.Split(v, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		return items
	case []any:
		items := []string{} // an empty list differs from an absent one
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				p.refuse("%s: want strings, got %T", name, item)
				continue
			}
			items = append(items, s)
		}
		return items
	default:
		p.refuse("%s: want a list or a comma-separated string, got %T", name, v)
		return nil
	}
}

// retains reads only RetainOnDelete. If the value is not clear, it retains.
func retains(props map[string]any) bool {
	switch props["RetainOnDelete"] {
	case nil, "", false, "false":
		return false
	}
	return true
}
