package cloudformation

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/localaws"
)

type permissionProperties struct {
	Action              string `cfn:"required,replace"`
	FunctionName        string `cfn:"required,replace"`
	Principal           string `cfn:"required,replace"`
	SourceArn           string `cfn:"replace"`
	SourceAccount       string `cfn:"replace"`
	FunctionUrlAuthType string `cfn:"replace"`
}

var permissionType = kept([]string{"Id"}, func(r *request, p permissionProperties) (made, error) {
	if _, err := r.function(p.FunctionName); err != nil {
		return made{}, err
	}
	id := r.generated("", 100)
	return made{id: id, attributes: map[string]any{"Id": id}}, nil
})

type functionURLProperties struct {
	TargetFunctionArn string `cfn:"required,replace"`
	Qualifier         string `cfn:"replace"`
	AuthType          string `cfn:"required"`
	InvokeMode        string
	Cors              any
}

var functionURLType = kept([]string{"FunctionArn", "FunctionUrl"}, func(r *request, p functionURLProperties) (made, error) {
	f, err := r.function(p.TargetFunctionArn)
	switch {
	case err != nil:
		return made{}, err
	}
	url, err := f.AddURL(localaws.FunctionURL{AuthType: p.AuthType, InvokeMode: p.InvokeMode})
	if err != nil {
		return made{}, err
	}
	arn := r.arn("lambda", "function:"+f.Name())
	if f.Version() != "$LATEST" {
		arn = p.TargetFunctionArn
	}
	return made{id: arn, attributes: map[string]any{"FunctionArn": arn, "FunctionUrl": url}}, nil
})

type invokeConfigProperties struct {
	FunctionName             string `cfn:"required,replace"`
	Qualifier                string `cfn:"required,replace"`
	MaximumEventAgeInSeconds *int
	MaximumRetryAttempts     *int
}

var invokeConfigType = kept(nil, func(r *request, p invokeConfigProperties) (made, error) {
	if _, err := r.function(p.FunctionName + ":" + p.Qualifier); err != nil {
		return made{}, err
	}
	if n := p.MaximumRetryAttempts; n != nil && (*n < 0 || *n > 2) {
		return made{}, errors.New("MaximumRetryAttempts: want 0 to 2")
	}
	if n := p.MaximumEventAgeInSeconds; n != nil && (*n < 60 || *n > 21600) {
		return made{}, errors.New("MaximumEventAgeInSeconds: want 60 to 21600")
	}
	return made{id: p.FunctionName + "|" + p.Qualifier}, nil
})

type eventSourceProperties struct {
	EventSourceArn                 string `cfn:"required,replace"`
	FunctionName                   string `cfn:"required"`
	BatchSize                      int
	Enabled                        *bool
	FunctionResponseTypes          []string
	MaximumBatchingWindowInSeconds int
	ScalingConfig                  *struct{ MaximumConcurrency int }
	FilterCriteria                 any
}

var eventSourceType = kept([]string{"Id", "EventSourceMappingArn"}, func(r *request, p eventSourceProperties) (made, error) {
	f, err := r.function(p.FunctionName)
	if err != nil {
		return made{}, err
	}
	queue := r.stack.find(sqsQueue, "Arn", p.EventSourceArn)
	if queue == nil {
		return made{}, fmt.Errorf("EventSourceArn %s: only a queue of the same template is implemented", p.EventSourceArn)
	}
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
	var q queueProperties
	if err := decode(queue.properties, &q, "queue"); err != nil {
		return made{}, err
	}
	visible := 30
	if q.VisibilityTimeout != nil {
		visible = *q.VisibilityTimeout
	}
	function, err := r.stack.function(f.Name())
	if err != nil {
		return made{}, err
	}
	if timeout := cmp.Or(function.Timeout, 3); visible < timeout {
		return made{}, fmt.Errorf("Queue visibility timeout: %d seconds is less than Function timeout: %d seconds", visible, timeout)
	}
	for _, action := range []string{"ReceiveMessage", "DeleteMessage", "GetQueueAttributes"} {
		if !r.aws.Allowed(function.Role, "sqs:"+action, p.EventSourceArn, nil) {
			return made{}, fmt.Errorf("The provided execution role does not have permissions to call %s on SQS", action)
		}
	}
	if p.ScalingConfig != nil && (p.ScalingConfig.MaximumConcurrency < 2 || p.ScalingConfig.MaximumConcurrency > 1000) {
		return made{}, errors.New("ScalingConfig: MaximumConcurrency: want 2 to 1000")
	}
	id := r.id
	if id == "" {
		id = uuid.NewString()
	}
	return made{id: id, attributes: map[string]any{"Id": id, "EventSourceMappingArn": r.arn("lambda", "event-source-mapping:"+id)}}, nil
})

// function is what the template says of a function of the stack.
func (s *Stack) function(name string) (p functionProperties, err error) {
	f := s.find(lambdaFunction, "", name)
	if f == nil {
		return p, fmt.Errorf("function %s is not of the same template, which is not implemented", name)
	}
	return p, decode(f.properties, &p, "function")
}
