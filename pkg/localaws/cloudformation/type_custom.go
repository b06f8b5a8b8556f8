package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/aws/aws-lambda-go/cfn"
)

// custom is a resource that a function makes.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
type custom struct{}

// check checks only what CloudFormation itself reads. The rest is for the
// function to check.
func (custom) check(properties map[string]any, path string) error {
	var p struct {
		ServiceToken   string `cfn:"required"`
		ServiceTimeout *int
	}
	own := map[string]any{}
	for _, name := range []string{"ServiceToken", "ServiceTimeout"} {
		if v, ok := properties[name]; ok {
			own[name] = v
		}
	}
	if err := decode(own, &p, path); err != nil {
		return err
	}
	if t := p.ServiceTimeout; t != nil && (*t < 1 || *t > 3600) && !isCall(properties["ServiceTimeout"]) {
		return fmt.Errorf("%s/ServiceTimeout: want 1 to 3600", path)
	}
	return nil
}

func (custom) hasAttribute(string) bool            { return true }
func (custom) replaces(_, _ map[string]any) string { return "" }
func (c custom) create(ctx context.Context, r *request) (made, error) {
	return c.send(ctx, r, cfn.RequestCreate)
}

func (c custom) update(ctx context.Context, r *request) (made, error) {
	if !same(r.old["ServiceToken"], r.properties["ServiceToken"]) {
		return made{}, untouched{errors.New("Modifying service token is not allowed.")}
	}
	return c.send(ctx, r, cfn.RequestUpdate)
}

func (c custom) remove(ctx context.Context, r *request) error {
	_, err := c.send(ctx, r, cfn.RequestDelete)
	return err
}

// send sends the function a request and reads its answer. A failed Create
// returns an id, because something may exist: the id in the answer, or one that
// CloudFormation makes up.
func (custom) send(ctx context.Context, r *request, what cfn.RequestType) (made, error) {
	f, err := r.function(fmt.Sprint(r.properties["ServiceToken"]))
	if err != nil {
		return made{}, err
	}
	properties, _ := stringify(r.properties).(map[string]any)
	event := map[string]any{
		"RequestType": what, "StackId": r.stack.id, "ResourceType": r.resourceType,
		"LogicalResourceId": r.logicalID, "ResourceProperties": properties,
	}
	if what != cfn.RequestCreate {
		event["PhysicalResourceId"] = r.id
	}
	if what == cfn.RequestUpdate {
		event["OldResourceProperties"] = stringify(r.old)
	}
	doc, err := json.Marshal(event)
	if err != nil {
		return made{}, err
	}
	answer, _, err := r.aws.SendCustomResource(ctx, f, doc)
	if err != nil {
		m := made{}
		if what == cfn.RequestCreate {
			m.id = r.name("", 255)
		}
		return m, err
	}
	m := made{id: answer.PhysicalResourceID, attributes: maps.Clone(answer.Data)}
	if answer.Status != cfn.StatusSuccess {
		return m, fmt.Errorf("Received response status [FAILED] from custom resource. Message returned: %s (RequestId: %s)", answer.Reason, answer.RequestID)
	}
	if what == cfn.RequestDelete && m.id != r.id {
		return m, fmt.Errorf("the answer to Delete has the id %.200q, which is not the resource's", m.id)
	}
	return m, nil
}
