package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

type eventBusProperties struct {
	Name             string `cfn:"required,replace"`
	Description      string
	DeadLetterConfig *struct{ Arn string }
	Tags             []tag
}

const eventBus = "AWS::Events::EventBus"

var eventBusType = native[eventBusProperties]{
	attributes: []string{"Arn", "Name"},
	made: func(_ context.Context, r *request, p eventBusProperties) (made, error) {
		if p.Name == localaws.DefaultBus {
			return made{}, errors.New("Name: the default event bus exists already")
		}
		if err := r.aws.Keep(eventBus, p.Name); err != nil {
			return made{}, err
		}
		return made{id: p.Name, attributes: map[string]any{"Arn": r.aws.AddEventBus(p.Name), "Name": p.Name}}, nil
	},
	changed: func(_ context.Context, r *request, _, _ eventBusProperties) (made, error) {
		return made{id: r.id, attributes: r.attributes}, nil
	},
	removed: func(_ context.Context, r *request, _ eventBusProperties) error {
		r.aws.RemoveEventBus(r.id)
		r.aws.Forget(eventBus, r.id)
		return nil
	},
}

type ruleProperties struct {
	Name               string `cfn:"replace"`
	EventBusName       string `cfn:"replace"`
	Description        string
	EventPattern       map[string]any
	ScheduleExpression string
	State              string
	RoleArn            string
	Targets            []struct {
		Arn              string `cfn:"required"`
		Id               string `cfn:"required"`
		RoleArn          string
		Input            string
		InputPath        string
		InputTransformer any
		RetryPolicy      any
		DeadLetterConfig *struct{ Arn string }
		SqsParameters    any
	}
}

var ruleType = kept([]string{"Arn"}, func(r *request, p ruleProperties) (made, error) {
	bus := p.EventBusName[strings.LastIndex(p.EventBusName, "/")+1:] // a name or an ARN
	if bus == localaws.DefaultBus {
		bus = ""
	}
	switch {
	case (p.EventPattern == nil) == (p.ScheduleExpression == ""):
		return made{}, errors.New("want an EventPattern or a ScheduleExpression")
	case bus != "" && p.ScheduleExpression != "":
		return made{}, errors.New("ScheduleExpression is supported only on the default event bus")
	case bus != "" && !r.aws.Kept(eventBus, bus):
		return made{}, fmt.Errorf("Event bus %s does not exist.", bus)
	case p.State != "" && p.State != "ENABLED" && p.State != "DISABLED":
		return made{}, fmt.Errorf("State %.40q: want ENABLED or DISABLED", p.State)
	case len(p.Targets) > 5:
		return made{}, errors.New("Targets: at most 5 are allowed")
	}
	// EventBridge would take a target that is not there, and drop every event.
	for _, t := range p.Targets {
		if strings.Contains(t.Arn, ":lambda:") {
			if _, err := r.function(t.Arn); err != nil {
				return made{}, err
			}
		}
	}
	name := r.id[strings.LastIndex(r.id, "|")+1:]
	if name == "" {
		name = r.name(p.Name, 64)
	}
	if bus == "" {
		return made{id: name, attributes: map[string]any{"Arn": r.arn("events", "rule/"+name)}}, nil
	}
	return made{id: bus + "|" + name, attributes: map[string]any{"Arn": r.arn("events", "rule/"+bus+"/"+name)}}, nil
})

type scheduleProperties struct {
	Name                       string `cfn:"replace"`
	GroupName                  string
	Description                string
	ScheduleExpression         string `cfn:"required"`
	ScheduleExpressionTimezone string
	StartDate, EndDate         string
	State                      string
	FlexibleTimeWindow         struct {
		Mode                   string `cfn:"required"`
		MaximumWindowInMinutes int
	} `cfn:"required"`
	Target struct {
		Arn              string `cfn:"required"`
		RoleArn          string `cfn:"required"`
		Input            string
		RetryPolicy      any
		DeadLetterConfig *struct{ Arn string }
	} `cfn:"required"`
}

var scheduleType = kept([]string{"Arn"}, func(r *request, p scheduleProperties) (made, error) {
	if p.GroupName != "" && p.GroupName != "default" {
		return made{}, errors.New("GroupName is not implemented")
	}
	if strings.Contains(p.Target.Arn, ":lambda:") {
		if _, err := r.function(p.Target.Arn); err != nil {
			return made{}, err
		}
	}
	name := r.generated(p.Name, 64)
	return made{id: name, attributes: map[string]any{"Arn": r.arn("scheduler", "schedule/default/"+name)}}, nil
})
