package cloudformation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

type eventBusProperties struct {
	Name             string `cfn:"required,replace"`
	Description      string
	DeadLetterConfig *struct{ Arn string }
	Tags             []tag
}

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateEventBus.html
var busName = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,256}$`)

const eventBus = "AWS::Events::EventBus"

var eventBusType = native[eventBusProperties]{
	attributes: []string{"Arn", "Name"},
	made: func(_ context.Context, r *request, p eventBusProperties) (made, error) {
		switch {
		case p.Name == localaws.DefaultBus:
			return made{}, errors.New("Name: the default event bus exists already")
		case !busName.MatchString(p.Name):
			return made{}, fmt.Errorf("Name %.100q: want up to 256 letters, digits or any of .-_; buses of partners are not implemented", p.Name)
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

// Expressions of schedules. at(…) is for EventBridge Scheduler only, not for
// rules. The unit of a rate is singular after 1.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html
// https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
var (
	repeated = regexp.MustCompile(`^(rate\((1 (minute|hour|day)|([2-9]|[1-9][0-9]+) (minutes|hours|days))\)|cron\([^() ]+( [^() ]+){5}\))$`)
	once     = regexp.MustCompile(`^at\([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\)$`)
	targetID = regexp.MustCompile(`^[.\-_A-Za-z0-9]{1,64}$`)
)

// checkTargets checks the limits of a rule's targets.
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html
func (p *ruleProperties) checkTargets() error {
	if len(p.Targets) > 5 {
		return errors.New("Targets: at most 5 are allowed")
	}
	seen := map[string]bool{}
	for _, t := range p.Targets {
		inputs := 0
		for _, given := range []bool{t.Input != "", t.InputPath != "", t.InputTransformer != nil} {
			if given {
				inputs++
			}
		}
		switch {
		case !targetID.MatchString(t.Id) || seen[t.Id]:
			return fmt.Errorf("Targets: Id %.80q: want letters, digits or any of .-_, and each Id once", t.Id)
		case inputs > 1:
			return fmt.Errorf("Targets: %s: want one of Input, InputPath and InputTransformer", t.Id)
		case t.Input != "" && !json.Valid([]byte(t.Input)):
			return fmt.Errorf("Targets: %s: Input: want JSON", t.Id)
		}
		seen[t.Id] = true
	}
	return nil
}

// checkPattern refuses a pattern that EventBridge would refuse: every field must
// have a list of the values that match.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern.html
func checkPattern(pattern map[string]any) error {
	for _, field := range slices.Sorted(maps.Keys(pattern)) {
		switch v := pattern[field].(type) {
		case []any:
			if len(v) == 0 {
				return fmt.Errorf("Event pattern is not valid. Reason: empty arrays are not allowed at %q", field)
			}
		case map[string]any:
			if err := checkPattern(v); err != nil {
				return err
			}
		default:
			return fmt.Errorf("Event pattern is not valid. Reason: %q must be an object or an array", field)
		}
	}
	return nil
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
	case p.ScheduleExpression != "" && !repeated.MatchString(p.ScheduleExpression):
		return made{}, fmt.Errorf("Parameter ScheduleExpression is not valid: %.80q: want rate(1 day), rate(2 days) or a cron(…) of six fields", p.ScheduleExpression)
	}
	if err := cmp.Or(p.checkTargets(), checkPattern(p.EventPattern)); err != nil {
		return made{}, err
	}
	// EventBridge would accept a missing target and drop every event.
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
	switch {
	case p.GroupName != "" && p.GroupName != "default":
		return made{}, errors.New("GroupName is not implemented")
	case !repeated.MatchString(p.ScheduleExpression) && !once.MatchString(p.ScheduleExpression):
		return made{}, fmt.Errorf("Invalid Schedule Expression %.80s", p.ScheduleExpression)
	case p.State != "" && p.State != "ENABLED" && p.State != "DISABLED":
		return made{}, fmt.Errorf("State %.40q: want ENABLED or DISABLED", p.State)
	case p.FlexibleTimeWindow.Mode != "OFF" && p.FlexibleTimeWindow.Mode != "FLEXIBLE", (p.FlexibleTimeWindow.Mode == "OFF") != (p.FlexibleTimeWindow.MaximumWindowInMinutes == 0):
		return made{}, errors.New("FlexibleTimeWindow: want the Mode OFF, or FLEXIBLE with MaximumWindowInMinutes")
	}
	if strings.Contains(p.Target.Arn, ":lambda:") {
		if _, err := r.function(p.Target.Arn); err != nil {
			return made{}, err
		}
		// The service would accept it, and every invocation would fail.
		// https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html#setting-up-execution-role
		if !r.aws.Allowed(p.Target.RoleArn, "lambda:InvokeFunction", p.Target.Arn, nil) {
			return made{}, fmt.Errorf("Target: the role %.200q may not invoke %s", p.Target.RoleArn, p.Target.Arn)
		}
	}
	name := r.generated(p.Name, 64)
	return made{id: name, attributes: map[string]any{"Arn": r.arn("scheduler", "schedule/default/"+name)}}, nil
})
