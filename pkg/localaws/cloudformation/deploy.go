package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"agentcore-mcp-auth/pkg/localaws"
)

// Deploy makes the stack match the template, or fails and restores it.
// Parameters that are not given keep their values from the last successful
// deployment, or take their defaults. A stack whose creation failed can only be
// deleted, as in CloudFormation.
//
// When ctx ends, the operation fails and nothing is rolled back, so that an
// interrupted local run ends at once.
func (s *Stack) Deploy(ctx context.Context, t *Template, parameters map[string]string) error {
	s.operation.Lock()
	defer s.operation.Unlock()
	first := false
	switch status := s.Status(); status {
	case "", DeleteComplete:
		first = true
	case CreateComplete, UpdateComplete, UpdateRollbackComplete:
	default:
		return fmt.Errorf("stack %s is in %s state and can not be updated", s.name, status)
	}
	d, err := s.plan(t, parameters)
	if err != nil {
		return fmt.Errorf("deploying stack %s: %w", s.name, err)
	}
	d.first = first
	if first {
		if _, err := s.aws.AddStack(localaws.Stack{Name: s.name, ID: s.id, Status: string(CreateInProgress)}); err != nil {
			return fmt.Errorf("deploying stack %s: %w", s.name, err)
		}
	}
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("deploying stack %s: %w", s.name, err)
	}
	return nil
}

// deployment is a running Deploy.
type deployment struct {
	*Stack
	values      map[string]string // of parameters
	parameters  map[string]*parameter
	description string
	conditions  map[string]bool
	wanted      map[string]*declaration
	outputs     map[string]*output
	imports     []string // names of exports
	order       order
	first       bool                 // the stack is being made
	before      map[string]*resource // what the stack had

	// guarded by Stack.mu
	steps  []*step
	failed []error
}

// step is what was done to one resource.
type step struct {
	was *resource // nil: it was not there
	now *resource // nil: it could not be made
	// created is set if create made now. If was is not nil, now replaces it.
	created bool
}

// run does what was planned.
func (d *deployment) run(ctx context.Context) error {
	begin, complete := UpdateInProgress, UpdateComplete
	if d.first {
		begin, complete = CreateInProgress, CreateComplete
	}
	d.enter(begin, "User Initiated")
	d.mu.Lock()
	d.before = maps.Clone(d.resources)
	d.mu.Unlock()
	d.aws.Import(d.name, slices.Concat(d.Stack.imports, d.imports)) // a rollback needs the old ones
	var outputs []localaws.StackOutput
	if d.order.run(true, func(id string) error { return d.apply(ctx, d.wanted[id]) }) {
		var err error
		if outputs, err = d.evaluateOutputs(); err == nil {
			err = d.checkWiring()
		}
		if err == nil {
			err = d.aws.Export(d.name, exportsOf(outputs))
		}
		if err != nil {
			d.fail(err)
		}
	}
	d.mu.Lock()
	failed := errors.Join(d.failed...)
	d.mu.Unlock()
	if failed != nil {
		defer d.aws.Import(d.name, d.Stack.imports)
		return d.goBack(ctx, failed)
	}
	d.aws.Import(d.name, d.imports)
	d.Stack.imports = d.imports
	d.mu.Lock()
	d.Stack.parameters, d.Stack.outputs, d.Stack.description = d.values, outputs, d.description
	d.Stack.shown = maps.Clone(d.values)
	for name, p := range d.parameters {
		if p.noEcho {
			d.Stack.shown[name] = "****"
		}
	}
	gone := d.leftBehind()
	d.mu.Unlock()
	if !d.first {
		d.enter(UpdateCleanup, "")
		d.discard(ctx, gone) // what it cannot delete is kept for Delete; the stack is complete all the same
	}
	d.enter(complete, "")
	return nil
}

func (d *deployment) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, err)
}

// leftBehind takes from the stack the resources that the template no longer has,
// and those that were replaced.
func (d *deployment) leftBehind() []leaving {
	var gone []leaving
	for _, st := range d.steps {
		if st.was != nil && st.now != nil && st.was.id != st.now.id {
			gone = append(gone, leaving{st.was, st.now.replacement == retain})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(d.resources)) {
		if r := d.resources[id]; d.wanted[id] == nil {
			gone = append(gone, leaving{r, r.deletion == retain || r.deletion == retainExceptOnCreate})
			delete(d.resources, id)
		}
	}
	return gone
}

// apply makes one resource match its declaration.
func (d *deployment) apply(ctx context.Context, want *declaration) error {
	if err := ctx.Err(); err != nil {
		d.fail(err)
		return err
	}
	path := "Resources/" + want.logicalID + "/Properties"
	kind, err := typeOf(want.resourceType)
	if err != nil {
		return err
	}
	evaluated, err := d.scope().evaluate(want.properties, path)
	if err == nil {
		err = kind.check(evaluated.(map[string]any), path)
	}
	now := &resource{
		logicalID: want.logicalID, resourceType: want.resourceType, kind: kind, dependsOn: d.order[want.logicalID],
		deletion: want.deletion, replacement: want.replacement,
	}
	d.mu.Lock()
	was := d.resources[want.logicalID]
	d.mu.Unlock()
	if err != nil {
		if was != nil {
			now.id = was.id
		}
		return d.refused(now, was, err)
	}
	now.properties = evaluated.(map[string]any)
	switch {
	case was == nil:
		return d.create(ctx, now, nil, "")
	case was.resourceType != now.resourceType:
		return d.create(ctx, now, was, "The resource's type has changed; hence creating a new one.")
	case same(was.properties, now.properties):
		now.made = was.made
		d.keep(now, nil)
		return nil
	}
	if property := kind.replaces(was.properties, now.properties); property != "" {
		return d.create(ctx, now, was, "Requested update requires the creation of a new physical resource; hence creating one.")
	}
	return d.update(ctx, now, was)
}

// keep records a resource under its logical id.
func (d *deployment) keep(now *resource, st *step) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resources[now.logicalID] = now
	if st != nil {
		d.steps = append(d.steps, st)
	}
}

// refused reports a resource that could not be made or changed.
func (d *deployment) refused(now, was *resource, err error) error {
	status := CreateFailed
	if was != nil {
		status = UpdateFailed
	}
	d.emit(now, status, err.Error())
	err = fmt.Errorf("%s (%s): %w", now.logicalID, now.resourceType, err)
	d.fail(err)
	return err
}

func (d *deployment) create(ctx context.Context, now, was *resource, reason string) error {
	status := CreateInProgress
	if was != nil {
		status = UpdateInProgress
	}
	d.emit(now, status, reason)
	m, err := now.kind.create(ctx, now.request(d.Stack))
	now.made = m
	if err != nil {
		st := &step{was: was, created: true}
		if m.id != "" { // something may exist
			st.now = now
		}
		d.mu.Lock()
		d.steps = append(d.steps, st)
		d.mu.Unlock()
		return d.refused(now, was, err)
	}
	d.keep(now, &step{was: was, now: now, created: true})
	d.emit(now, map[bool]Status{true: CreateComplete, false: UpdateComplete}[was == nil], "")
	return nil
}

func (d *deployment) update(ctx context.Context, now, was *resource) error {
	now.id = was.id
	d.emit(now, UpdateInProgress, "")
	r := now.request(d.Stack)
	r.old, r.attributes = was.properties, was.attributes
	m, err := now.kind.update(ctx, r)
	if err != nil {
		now.made = was.made
		if !errors.As(err, new(untouched)) {
			d.mu.Lock()
			d.steps = append(d.steps, &step{was: was, now: now})
			d.mu.Unlock()
		}
		return d.refused(now, was, err)
	}
	now.made = m
	d.keep(now, &step{was: was, now: now})
	reason := ""
	if m.id != was.id {
		reason = "Requested update required the provider to create a new physical resource"
	}
	d.emit(now, UpdateComplete, reason)
	return nil
}

// request returns what a resource's type needs to know about it.
func (r *resource) request(s *Stack) *request {
	return &request{stack: s, aws: s.aws, logicalID: r.logicalID, resourceType: r.resourceType, id: r.id, properties: r.properties}
}
