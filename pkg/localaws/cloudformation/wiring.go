package cloudformation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// checkWiring refuses what could be deployed in an account and would never work:
// a rule or a topic whose function does not give it permission. EventBridge and
// SNS drop such events, and only a metric shows it.
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
// https://docs.aws.amazon.com/lambda/latest/dg/services-sns.html
func (d *deployment) checkWiring() error {
	staying := slices.DeleteFunc(d.all(), func(r *resource) bool { return d.wanted[r.logicalID] == nil })
	var errs []error
	for _, r := range staying {
		switch r.resourceType {
		case eventsRule:
			var p ruleProperties
			if err := decode(r.properties, &p, r.logicalID); err != nil {
				return err
			}
			for _, t := range p.Targets {
				errs = append(errs, permits(staying, r, "events.amazonaws.com", r.attributes["Arn"], t.Arn))
			}
		case snsSubscription:
			var p subscriptionProperties
			if err := decode(r.properties, &p, r.logicalID); err != nil {
				return err
			}
			errs = append(errs, permits(staying, r, "sns.amazonaws.com", p.TopicArn, p.Endpoint))
		}
	}
	return errors.Join(errs...)
}

// permits refuses a target that is a function, version or alias, unless one of
// all permits the source.
func permits(all []*resource, r *resource, service string, source any, target string) error {
	if !strings.Contains(target, ":lambda:") {
		return nil
	}
	for _, other := range all {
		if other.resourceType != lambdaPermission {
			continue
		}
		var p permissionProperties
		if err := decode(other.properties, &p, other.logicalID); err != nil {
			return err
		}
		function := p.FunctionName
		if !strings.HasPrefix(function, "arn:") {
			function = target[:strings.Index(target, ":function:")+len(":function:")] + function
		}
		if function == target && p.Action == "lambda:InvokeFunction" && p.Principal == service && (p.SourceArn == "" || p.SourceArn == source) {
			return nil
		}
	}
	return fmt.Errorf("%s (%s): no AWS::Lambda::Permission lets it invoke %s", r.logicalID, r.resourceType, target)
}
