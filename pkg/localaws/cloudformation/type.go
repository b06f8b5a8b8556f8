package cloudformation

import (
	"context"
	"crypto/rand"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

// resourceType is a type of resource that CloudFormation can make.
type resourceType interface {
	// check checks properties against the type. They may still contain
	// functions.
	check(properties map[string]any, path string) error
	// hasAttribute reports whether Fn::GetAtt accepts the name.
	hasAttribute(name string) bool
	// replaces returns the property whose change requires a replacement, or "".
	replaces(old, now map[string]any) string

	// create, update and remove get evaluated properties. create and update may
	// return what they made together with an error. remove succeeds if the
	// resource does not exist.
	create(ctx context.Context, r *request) (made, error)
	update(ctx context.Context, r *request) (made, error)
	remove(ctx context.Context, r *request) error
}

// request is one operation on one resource.
type request struct {
	stack        *Stack
	aws          *localaws.Server
	logicalID    string
	resourceType string
	id           string         // physical; empty before create
	properties   map[string]any // desired; on remove those of the resource
	old          map[string]any // on update
	attributes   map[string]any // on update: the previous ones
}

// made is the result of create or update.
type made struct {
	id         string // physical
	ref        string // what Ref returns, if not the physical id
	attributes map[string]any
}

// untouched is an error of an update that changed nothing, so nothing has to be
// undone.
type untouched struct{ error }

// name returns given, or a name that CloudFormation would make up: of at most n
// characters, and never the same twice.
func (r *request) name(given string, n int) string {
	if given != "" {
		return given
	}
	suffix := "-" + rand.Text()[:12]
	stack, id := r.stack.name, r.logicalID
	if room := n - len(suffix) - 1; len(stack)+len(id) > room {
		stack = stack[:min(len(stack), room/2)]
		id = id[:min(len(id), room-len(stack))]
	}
	return stack + "-" + id + suffix
}

// arn is an ARN of this account and region.
func (r *request) arn(service, resource string) string {
	return "arn:aws:" + service + ":" + r.aws.AWSConfig().Region + ":" + localaws.Account + ":" + resource
}

// native is a resource type with properties P.
type native[P any] struct {
	attributes []string
	made       func(ctx context.Context, r *request, p P) (made, error)
	changed    func(ctx context.Context, r *request, p, old P) (made, error) // nil: no property can be changed
	removed    func(ctx context.Context, r *request, p P) error
}

func (n native[P]) shape() reflect.Type { return reflect.TypeFor[P]() }

func (n native[P]) check(properties map[string]any, path string) error {
	return decode(properties, new(P), path)
}

func (n native[P]) hasAttribute(name string) bool { return slices.Contains(n.attributes, name) }

func (n native[P]) replaces(old, now map[string]any) string {
	if n.changed == nil && !same(old, now) {
		return "one of its properties"
	}
	return replaces(n.shape(), old, now)
}

func (n native[P]) create(ctx context.Context, r *request) (made, error) {
	p, err := n.read(r.properties)
	if err != nil {
		return made{}, err
	}
	return n.made(ctx, r, p)
}

func (n native[P]) update(ctx context.Context, r *request) (made, error) {
	p, err := n.read(r.properties)
	if err != nil {
		return made{}, err
	}
	old, err := n.read(r.old)
	if err != nil {
		return made{}, err
	}
	return n.changed(ctx, r, p, old)
}

func (n native[P]) remove(ctx context.Context, r *request) error {
	p, err := n.read(r.properties)
	if err != nil {
		return err
	}
	return n.removed(ctx, r, p)
}

func (n native[P]) read(properties map[string]any) (P, error) {
	var p P
	err := decode(properties, &p, "Properties")
	return p, err
}

// kept is a type that the stand-in does not implement otherwise: a resource
// exists with the id and the attributes that it would have, and does nothing.
// describe may refuse properties. It must return the same id for a resource that
// has one.
func kept[P any](attributes []string, describe func(r *request, p P) (made, error)) native[P] {
	return native[P]{
		attributes: attributes,
		made: func(_ context.Context, r *request, p P) (made, error) {
			m, err := describe(r, p)
			if err == nil {
				err = r.aws.Keep(r.resourceType, m.id)
			}
			if err != nil {
				return made{}, err
			}
			return m, nil
		},
		changed: func(_ context.Context, r *request, p, _ P) (made, error) { return describe(r, p) },
		removed: func(_ context.Context, r *request, _ P) error {
			r.aws.Forget(r.resourceType, r.id)
			return nil
		},
	}
}

// generated returns the id of a kept resource: its present one, or a new one.
func (r *request) generated(given string, n int) string {
	if r.id != "" {
		return r.id
	}
	return r.name(given, n)
}

// The types that the Serverless transform makes.
const (
	eventsRule         = "AWS::Events::Rule"
	iamRole            = "AWS::IAM::Role"
	lambdaAlias        = "AWS::Lambda::Alias"
	lambdaEventSource  = "AWS::Lambda::EventSourceMapping"
	lambdaFunction     = "AWS::Lambda::Function"
	lambdaInvokeConfig = "AWS::Lambda::EventInvokeConfig"
	lambdaPermission   = "AWS::Lambda::Permission"
	lambdaURL          = "AWS::Lambda::Url"
	lambdaVersion      = "AWS::Lambda::Version"
	schedule           = "AWS::Scheduler::Schedule"
	snsSubscription    = "AWS::SNS::Subscription"
)

// resourceTypes are the implemented resource types, except custom resources.
var resourceTypes = map[string]resourceType{
	agentRuntime:                   agentRuntimeType,
	"AWS::CloudWatch::Alarm":       alarmType,
	"AWS::CloudWatch::Dashboard":   dashboardType,
	"AWS::Cognito::UserPool":       userPoolType,
	"AWS::Cognito::UserPoolDomain": userPoolDomainType,
	"AWS::DynamoDB::Table":         tableType,
	"AWS::ECR::Repository":         repositoryType,
	"AWS::Events::EventBus":        eventBusType,
	eventsRule:                     ruleType,
	iamRole:                        roleType,
	lambdaAlias:                    aliasType,
	lambdaEventSource:              eventSourceType,
	lambdaFunction:                 functionType,
	lambdaInvokeConfig:             invokeConfigType,
	lambdaPermission:               permissionType,
	lambdaURL:                      functionURLType,
	lambdaVersion:                  versionType,
	"AWS::IAM::Policy":             policyType,
	"AWS::IAM::RolePolicy":         rolePolicyType,
	logGroup:                       logGroupType,
	"AWS::Logs::MetricFilter":      metricFilterType,
	"AWS::SNS::Topic":              topicType,
	"AWS::SNS::TopicPolicy":        topicPolicyType,
	snsSubscription:                subscriptionType,
	"AWS::SQS::Queue":              queueType,
	"AWS::SQS::QueuePolicy":        queuePolicyType,
	"AWS::SSM::Parameter":          parameterType,
	schedule:                       scheduleType,
}

// typeOf finds a resource type by its name.
func typeOf(name string) (resourceType, error) {
	if strings.HasPrefix(name, "Custom::") || name == "AWS::CloudFormation::CustomResource" {
		return custom{}, nil
	}
	t, ok := resourceTypes[name]
	if !ok {
		return nil, fmt.Errorf("the resource type %.200q is not implemented", name)
	}
	return t, nil
}
