package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// makeEvents makes the resources for a function's events.
func (f *functionParts) makeEvents() error {
	events, err := f.mapping("Events")
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(events)) {
		if !logicalID.MatchString(name) {
			return fmt.Errorf("Events: %.80q: want letters and digits", name)
		}
		event, _ := events[name].(map[string]any)
		err := known("", event, "Type", "Properties")
		p, ok := event["Properties"].(map[string]any)
		make := map[any]func(name string, p map[string]any) error{
			"SQS": f.makeQueueEvent, "SNS": f.makeTopicEvent, "EventBridgeRule": f.makeRuleEvent, "Schedule": f.makeRuleEvent, "ScheduleV2": f.makeScheduleEvent,
		}[event["Type"]]
		switch {
		case err != nil || !ok:
			err = errors.New("want a Type and Properties")
		case make == nil:
			err = fmt.Errorf("the type %.80v is not implemented", event["Type"])
		default:
			err = make(name, maps.Clone(p))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("Events/%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// take removes a property and returns it.
func take(p map[string]any, name string) any {
	v := p[name]
	delete(p, name)
	return v
}

func (f *functionParts) makeQueueEvent(name string, p map[string]any) error {
	queue := take(p, "Queue")
	if queue == nil {
		return errors.New("Queue is missing")
	}
	p["EventSourceArn"], p["FunctionName"] = queue, f.target()
	f.add(f.part(name, lambdaEventSource, p))
	if f.role != nil {
		managed := managedPolicy + "service-role/AWSLambdaSQSQueueExecutionRole"
		if list := f.role.properties["ManagedPolicyArns"].([]any); !slices.Contains(list, any(managed)) {
			f.role.properties["ManagedPolicyArns"] = append(list, managed)
		}
	}
	return nil
}

func (f *functionParts) makeTopicEvent(name string, p map[string]any) error {
	topic := take(p, "Topic")
	if topic == nil {
		return errors.New("Topic is missing")
	}
	if p["SqsSubscription"] != nil {
		return errors.New("SqsSubscription is not implemented")
	}
	p["TopicArn"], p["Protocol"], p["Endpoint"] = topic, "lambda", f.targetARN()
	f.add(f.part(name, snsSubscription, p))
	f.permit(name, "sns.amazonaws.com", topic)
	return nil
}

// makeRuleEvent makes a rule from an EventBridgeRule or a Schedule.
func (f *functionParts) makeRuleEvent(name string, p map[string]any) error {
	target := map[string]any{"Arn": f.targetARN(), "Id": f.of.logicalID + name + "LambdaTarget"}
	for _, key := range []string{"Input", "InputPath", "InputTransformer", "RetryPolicy", "DeadLetterConfig"} {
		if v := take(p, key); v != nil {
			target[key] = v
		}
	}
	if dead, ok := target["DeadLetterConfig"].(map[string]any); ok && dead["Arn"] == nil {
		return errors.New("DeadLetterConfig: want an Arn")
	}
	for from, to := range map[string]string{"Pattern": "EventPattern", "Schedule": "ScheduleExpression", "RuleName": "Name"} {
		if v := take(p, from); v != nil {
			p[to] = v
		}
	}
	if enabled := take(p, "Enabled"); enabled != nil {
		on, ok := enabled.(bool)
		if !ok || p["State"] != nil {
			return errors.New("Enabled: want true or false, and no State beside it")
		}
		p["State"] = map[bool]string{true: "ENABLED", false: "DISABLED"}[on]
	}
	p["Targets"] = []any{target}
	rule := f.part(name, eventsRule, p)
	f.add(rule)
	f.permit(name, "events.amazonaws.com", attribute(rule, "Arn"))
	return nil
}

// makeScheduleEvent makes a schedule of EventBridge Scheduler. If no role is
// given, it makes one that may invoke the function.
func (f *functionParts) makeScheduleEvent(name string, p map[string]any) error {
	target := map[string]any{"Arn": f.targetARN()}
	for _, key := range []string{"Input", "RetryPolicy", "DeadLetterConfig", "RoleArn"} {
		if v := take(p, key); v != nil {
			target[key] = v
		}
	}
	if p["FlexibleTimeWindow"] == nil {
		p["FlexibleTimeWindow"] = map[string]any{"Mode": "OFF"}
	}
	if omit := take(p, "OmitName"); omit != true && p["Name"] == nil {
		p["Name"] = f.of.logicalID + name
	}
	if target["RoleArn"] == nil {
		if target["DeadLetterConfig"] != nil {
			return errors.New("DeadLetterConfig without a RoleArn is not implemented")
		}
		role := f.part(name+"Role", iamRole, map[string]any{
			"AssumeRolePolicyDocument": trust("scheduler.amazonaws.com"),
			"Policies":                 []any{policy(f.of.logicalID+name+"LambdaPolicy", "lambda:InvokeFunction", f.targetARN())},
		})
		f.add(role)
		target["RoleArn"] = attribute(role, "Arn")
	}
	p["Target"] = target
	f.add(f.part(name, schedule, p))
	return nil
}

// permit lets a service invoke the function for one source.
func (f *functionParts) permit(name, service string, source any) {
	f.add(f.part(name+"Permission", lambdaPermission, map[string]any{
		"Action": "lambda:InvokeFunction", "FunctionName": f.target(), "Principal": service, "SourceArn": source,
	}))
}
