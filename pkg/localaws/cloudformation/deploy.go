package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"agentcore-mcp-auth/pkg/localaws"
)

// Deploy makes the stack what the template says, or fails and makes it what it
// was before. Parameters that are not given keep the value of the last
// deployment that succeeded, or take their default. A stack whose making failed
// can only be deleted, as in CloudFormation.
//
// ctx ending makes the operation fail; nothing is rolled back then, so that
// whoever interrupts a local run does not wait.
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
	if err := d.run(ctx); err != nil {
		return fmt.Errorf("deploying stack %s: %w", s.name, err)
	}
	return nil
}

// deployment is a Deploy under way.
type deployment struct {
	*Stack
	values     map[string]string // of parameters
	parameters map[string]*parameter
	conditions map[string]bool
	wanted     map[string]*declaration
	outputs    map[string]*output
	imports    []string // names of exports
	order      order
	first      bool                 // the stack is being made
	before     map[string]*resource // what the stack had

	// guarded by Stack.mu
	steps  []*step
	failed []error
}

// step is what was done to one resource.
type step struct {
	was *resource // nil: it was not there
	now *resource // nil: it could not be made
	// created is set when now was made by create, instead of was where that was
	// there.
	created bool
}

// plan finds out what a template asks for, and what is wrong with that, before
// anything is done.
func (s *Stack) plan(t *Template, given map[string]string) (*deployment, error) {
	s.mu.Lock()
	before := maps.Clone(s.parameters)
	s.mu.Unlock()
	d := &deployment{Stack: s, parameters: t.parameters, wanted: map[string]*declaration{}, outputs: map[string]*output{}, order: order{}}
	var err error
	if d.values, err = t.values(given, before); err != nil {
		return nil, err
	}
	if d.conditions, err = t.evaluateConditions(d.ref); err != nil {
		return nil, err
	}
	resources, outputs, err := t.expand(s.code.pack)
	if err != nil {
		return nil, err
	}
	for id, r := range resources {
		if r.condition == "" || d.conditions[r.condition] {
			d.wanted[id] = r
		}
	}
	for id, o := range outputs {
		if o.condition == "" || d.conditions[o.condition] {
			d.outputs[id] = o
		}
	}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(d.wanted)) {
		r := d.wanted[id]
		d.order[id] = d.dependencies(r)
		references(r.properties, "Resources/"+id+"/Properties", d.conditions, func(u reference) { errs = append(errs, d.left(u, resources)) })
	}
	for _, id := range slices.Sorted(maps.Keys(d.outputs)) {
		references(d.outputs[id].value, "Outputs/"+id+"/Value", d.conditions, func(u reference) { errs = append(errs, d.left(u, resources)) })
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := d.order.check(); err != nil {
		return nil, err
	}
	return d, d.findImports()
}

// findImports looks up the exports of other stacks that the template uses.
func (d *deployment) findImports() error {
	var errs []error
	find := func(arg any, path string) {
		name, err := d.scope().text(arg, path)
		if err == nil {
			_, err = d.imported(name)
		}
		if err != nil {
			errs = append(errs, at(path+": "+fnImport, err))
			return
		}
		d.imports = append(d.imports, name)
	}
	for _, id := range slices.Sorted(maps.Keys(d.wanted)) {
		imports(d.wanted[id].properties, "Resources/"+id+"/Properties", d.conditions, find)
	}
	for _, id := range slices.Sorted(maps.Keys(d.outputs)) {
		imports(d.outputs[id].value, "Outputs/"+id+"/Value", d.conditions, find)
	}
	return errors.Join(errs...)
}

func (d *deployment) imported(name string) (string, error) {
	value, ok := d.aws.Exported(name)
	if !ok {
		return "", fmt.Errorf("No export named %s found", name)
	}
	return value, nil
}

// left refuses the use of a resource that a condition leaves out.
func (d *deployment) left(u reference, resources map[string]*declaration) error {
	if resources[u.name] != nil && d.wanted[u.name] == nil {
		return fmt.Errorf("%s: Unresolved resource dependencies [%s]: its condition leaves it out", u.path, u.name)
	}
	return nil
}

// dependencies are the resources that have to be there before a resource.
func (d *deployment) dependencies(r *declaration) []string {
	all := map[string]bool{}
	for _, id := range r.dependsOn {
		all[id] = true
	}
	references(r.properties, "", d.conditions, func(u reference) { all[u.name] = true })
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id string) bool { return d.wanted[id] == nil })
}

// ref is what Ref returns.
func (d *deployment) ref(name string) (any, error) {
	switch name {
	case "AWS::AccountId":
		return localaws.Account, nil
	case "AWS::NoValue":
		return noValue{}, nil
	case "AWS::Partition":
		return "aws", nil
	case "AWS::Region":
		return d.aws.AWSConfig().Region, nil
	case "AWS::StackId":
		return d.id, nil
	case "AWS::StackName":
		return d.name, nil
	case "AWS::URLSuffix":
		return "amazonaws.com", nil
	}
	if p := d.parameters[name]; p != nil {
		return p.value(d.values[name]), nil
	}
	r, err := d.existing(name)
	if err != nil {
		return nil, err
	}
	if r.ref != "" {
		return r.ref, nil
	}
	return r.id, nil
}

func (d *deployment) existing(id string) (*resource, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.resources[id]
	if r == nil {
		return nil, fmt.Errorf("there is no resource %s", id)
	}
	return r, nil
}

// attribute is what Fn::GetAtt returns.
func (d *deployment) attribute(id, name string) (any, error) {
	r, err := d.existing(id)
	if err != nil {
		return nil, err
	}
	v, ok := r.attributes[name]
	if !ok {
		return nil, fmt.Errorf("%s has no attribute %s", id, name)
	}
	return v, nil
}

func (d *deployment) scope() *scope {
	return &scope{ref: d.ref, attribute: d.attribute, imported: d.imported, conditions: d.conditions}
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
	d.aws.Import(d.name, slices.Concat(d.Stack.imports, d.imports)) // the old ones until it cannot go back
	var outputs map[string]string
	if d.order.run(true, func(id string) error { return d.apply(ctx, d.wanted[id]) }) {
		var err error
		var exported map[string]string
		if outputs, exported, err = d.evaluateOutputs(); err == nil {
			err = d.checkWiring()
		}
		if err == nil {
			err = d.aws.Export(d.name, exported)
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
	d.Stack.parameters, d.Stack.outputs = d.values, outputs
	gone := d.leftBehind()
	d.mu.Unlock()
	if !d.first {
		d.enter(UpdateCleanup, "")
		d.discard(ctx, gone) // what it cannot delete is kept for Delete, as a stack that is complete
	}
	d.enter(complete, "")
	return nil
}

func (d *deployment) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, err)
}

// evaluateOutputs returns the outputs by their own names and by those that they
// are exported under.
func (d *deployment) evaluateOutputs() (all, exported map[string]string, err error) {
	all, exported = map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(d.outputs)) {
		o := d.outputs[name]
		path := "Outputs/" + name
		if all[name], err = d.scope().text(o.value, path+"/Value"); err != nil {
			return nil, nil, at(path+"/Value", err)
		}
		if o.export == nil {
			continue
		}
		export, err := d.scope().text(o.export, path+"/Export/Name")
		if err != nil {
			return nil, nil, at(path+"/Export/Name", err)
		}
		if _, twice := exported[export]; twice {
			return nil, nil, fmt.Errorf("%s/Export/Name: the name %s occurs twice", path, export)
		}
		exported[export] = all[name]
	}
	return all, exported, nil
}

// leftBehind takes from the stack what the template no longer has, and what
// was replaced.
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

// apply makes one resource what its declaration says.
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

// keep makes a resource the one of its logical id.
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
	err = fmt.Errorf("%s (%s): %w", now.logicalID, now.resourceType, err)
	d.emit(now, status, strings.TrimPrefix(err.Error(), now.logicalID+" ("+now.resourceType+"): "))
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
		if m.id != "" { // something may be there
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

// request is what a resource's type has to know of it.
func (r *resource) request(s *Stack) *request {
	return &request{stack: s, aws: s.aws, logicalID: r.logicalID, resourceType: r.resourceType, id: r.id, properties: r.properties}
}
