package cloudformation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	AuthType          string `cfn:"required"`
	InvokeMode        string
	Cors              any
}

// url gives a function its URL. The URL of an alias is not implemented.
func (p *functionURLProperties) url(r *request) (made, error) {
	f, err := r.function(p.TargetFunctionArn)
	if err == nil && p.InvokeMode != "" && p.InvokeMode != "BUFFERED" && p.InvokeMode != "RESPONSE_STREAM" {
		err = fmt.Errorf("InvokeMode %.40q: want BUFFERED or RESPONSE_STREAM", p.InvokeMode)
	}
	if err != nil {
		return made{}, err
	}
	if f.Version() == "$LATEST" {
		url, err := f.AddURL(localaws.FunctionURL{AuthType: p.AuthType, InvokeMode: p.InvokeMode})
		return made{id: f.ARN(), attributes: map[string]any{"FunctionArn": f.ARN(), "FunctionUrl": url}}, err
	}
	sum := sha256.Sum256([]byte(r.stack.id + p.TargetFunctionArn))
	return made{id: p.TargetFunctionArn, attributes: map[string]any{
		"FunctionArn": p.TargetFunctionArn,
		"FunctionUrl": "https://" + hex.EncodeToString(sum[:16]) + ".lambda-url." + r.aws.AWSConfig().Region + ".on.aws/",
	}}, nil
}

var functionURLType = native[functionURLProperties]{
	attributes: []string{"FunctionArn", "FunctionUrl"},
	made: func(_ context.Context, r *request, p functionURLProperties) (made, error) {
		m, err := p.url(r)
		if err == nil {
			err = r.aws.Keep(lambdaURL, m.id)
		}
		if err != nil {
			return made{}, err
		}
		return m, nil
	},
	changed: func(_ context.Context, r *request, p, _ functionURLProperties) (made, error) { return p.url(r) },
	removed: func(_ context.Context, r *request, p functionURLProperties) error {
		if f := r.aws.Function(p.TargetFunctionArn); f != nil && f.Version() == "$LATEST" {
			f.RemoveURL()
		}
		r.aws.Forget(lambdaURL, r.id)
		return nil
	},
}

type invokeConfigProperties struct {
	FunctionName             string `cfn:"required,replace"`
	Qualifier                string `cfn:"required,replace"`
	MaximumEventAgeInSeconds *int
	MaximumRetryAttempts     *int
}

func (p invokeConfigProperties) id() string { return p.FunctionName + "|" + p.Qualifier }

// apply sets the retries. The maximum age of events has no effect here.
func (p invokeConfigProperties) apply(r *request) (made, error) {
	f, err := r.function(p.FunctionName + ":" + p.Qualifier)
	if err != nil {
		return made{}, err
	}
	if n := p.MaximumEventAgeInSeconds; n != nil && (*n < 60 || *n > 21600) {
		return made{}, errors.New("MaximumEventAgeInSeconds: want 60 to 21600")
	}
	if err := r.aws.SetRetries(f.Name(), p.Qualifier, p.MaximumRetryAttempts); err != nil {
		return made{}, fmt.Errorf("MaximumRetryAttempts: %w", err)
	}
	return made{id: p.id()}, nil
}

var invokeConfigType = native[invokeConfigProperties]{
	made: func(_ context.Context, r *request, p invokeConfigProperties) (made, error) {
		if err := r.aws.Keep(lambdaInvokeConfig, p.id()); err != nil {
			return made{}, err
		}
		m, err := p.apply(r)
		if err != nil {
			r.aws.Forget(lambdaInvokeConfig, p.id())
		}
		return m, err
	},
	changed: func(_ context.Context, r *request, p, _ invokeConfigProperties) (made, error) { return p.apply(r) },
	removed: func(_ context.Context, r *request, p invokeConfigProperties) error {
		r.aws.Forget(lambdaInvokeConfig, r.id)
		f, err := r.function(p.FunctionName)
		if err != nil { // the function no longer exists, nor do its settings
			return nil
		}
		return r.aws.SetRetries(f.Name(), p.Qualifier, nil)
	},
}

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

// check checks the rules of a queue's event source mapping.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
// https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
func (p *eventSourceProperties) check(fifo bool) error {
	most := 10_000
	if fifo {
		most = 10
	}
	switch {
	case p.BatchSize < 0 || p.BatchSize > most:
		return fmt.Errorf("BatchSize: want 1 to %d", most)
	case p.MaximumBatchingWindowInSeconds < 0 || p.MaximumBatchingWindowInSeconds > 300:
		return errors.New("MaximumBatchingWindowInSeconds: want 0 to 300")
	case fifo && p.MaximumBatchingWindowInSeconds > 0:
		return errors.New("MaximumBatchingWindowInSeconds is not for a FIFO queue")
	case p.BatchSize > 10 && p.MaximumBatchingWindowInSeconds == 0:
		return errors.New("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	case len(p.FunctionResponseTypes) > 1 || len(p.FunctionResponseTypes) == 1 && p.FunctionResponseTypes[0] != "ReportBatchItemFailures":
		return fmt.Errorf("FunctionResponseTypes %q: want ReportBatchItemFailures", p.FunctionResponseTypes)
	case p.ScalingConfig != nil && (p.ScalingConfig.MaximumConcurrency < 2 || p.ScalingConfig.MaximumConcurrency > 1000):
		return errors.New("ScalingConfig: MaximumConcurrency: want 2 to 1000")
	}
	return nil
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
	var q queueProperties
	if err := decode(queue.properties, &q, "queue"); err != nil {
		return made{}, err
	}
	if err := p.check(q.FifoQueue); err != nil {
		return made{}, err
	}
	// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
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
	id := cmp.Or(r.id, uuid.NewString())
	return made{id: id, attributes: map[string]any{"Id": id, "EventSourceMappingArn": r.arn("lambda", "event-source-mapping:"+id)}}, nil
})

// function returns the properties of a function of the stack.
func (s *Stack) function(name string) (p functionProperties, err error) {
	f := s.find(lambdaFunction, "", name)
	if f == nil {
		return p, fmt.Errorf("function %s is not of the same template, which is not implemented", name)
	}
	return p, decode(f.properties, &p, "function")
}
