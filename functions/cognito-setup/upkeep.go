package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
	"agentcore-mcp-auth/pkg/provision"
)

// upkeep is the event of the template's schedules: the rotation of one server's
// secret, and the daily removal of a replaced secret whose time is over.
type upkeep struct {
	Action          string `json:"action"` // rotate or tidy
	McpName         string `json:"mcp_name"`
	ParameterPrefix string `json:"parameter_prefix"` // default /app/mcp
}

// handler handles the events of one sender.
type handler func(context.Context, json.RawMessage) error

// dispatch separates the schedules' events from CloudFormation's, which have no
// action.
func dispatch(p *provision.Provisioner, cloudFormation handler) handler {
	return func(ctx context.Context, event json.RawMessage) error {
		var probe struct {
			Action *string `json:"action"`
		}
		if json.Unmarshal(event, &probe) != nil || probe.Action == nil {
			return cloudFormation(ctx, event)
		}
		return keepUp(ctx, *p, event)
	}
}

// keepUp carries out one schedule's event. p is a copy.
func keepUp(ctx context.Context, p provision.Provisioner, event json.RawMessage) error {
	var u upkeep
	decoder := json.NewDecoder(bytes.NewReader(event))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&u); err != nil {
		return fmt.Errorf("reading the schedule's event: %w", err)
	}
	if u.ParameterPrefix != "" {
		p.Prefix = u.ParameterPrefix
	}
	if err := errors.Join(credstore.CheckName(u.McpName), credstore.CheckPrefix(p.Prefix)); err != nil {
		return fmt.Errorf("reading the schedule's event: %w", err)
	}
	do := map[string]func(context.Context, string) (provision.Result, error){"rotate": p.Rotate, "tidy": p.Tidy}[u.Action]
	if do == nil {
		return fmt.Errorf("reading the schedule's event: action %.40q is neither rotate nor tidy", u.Action)
	}
	result, err := do(ctx, u.McpName)
	if err != nil {
		return fmt.Errorf("%s %s: %w", u.Action, u.McpName, err)
	}
	attrs := []any{"action", u.Action, "mcp_name", u.McpName, "changes", result.Changes}
	if u.Action == "tidy" { // the template's metric filter reads it
		attrs = append(attrs, "secret_age_days", int(time.Since(result.SecretSince)/(24*time.Hour)))
	}
	p.Logger.Info("upkeep", attrs...)
	return nil
}
