package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"agentcore-mcp-auth/pkg/localaws"
)

// plan computes what a template requires, and what is wrong with it, before
// anything is done.
func (s *Stack) plan(t *Template, given map[string]string) (*deployment, error) {
	s.mu.Lock()
	before := maps.Clone(s.parameters)
	s.mu.Unlock()
	d := &deployment{Stack: s, parameters: t.parameters, description: t.Description, wanted: map[string]*declaration{}, outputs: map[string]*output{}, order: order{}}
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

// left refuses a reference to a resource that a condition leaves out.
func (d *deployment) left(u reference, resources map[string]*declaration) error {
	if resources[u.name] != nil && d.wanted[u.name] == nil {
		return fmt.Errorf("%s: Unresolved resource dependencies [%s]: its condition leaves it out", u.path, u.name)
	}
	return nil
}

// dependencies returns the resources that must exist before a resource.
func (d *deployment) dependencies(r *declaration) []string {
	all := map[string]bool{}
	for _, id := range r.dependsOn {
		all[id] = true
	}
	references(r.properties, "", d.conditions, func(u reference) { all[u.name] = true })
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(id string) bool { return d.wanted[id] == nil })
}

// ref returns the result of Ref.
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

// attribute returns the result of Fn::GetAtt.
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

// evaluateOutputs returns the outputs, by name.
func (d *deployment) evaluateOutputs() ([]localaws.StackOutput, error) {
	var all []localaws.StackOutput
	for _, name := range slices.Sorted(maps.Keys(d.outputs)) {
		o, path := d.outputs[name], "Outputs/"+name
		out := localaws.StackOutput{Key: name, Description: o.description}
		var err error
		if out.Value, err = d.scope().text(o.value, path+"/Value"); err != nil {
			return nil, at(path+"/Value", err)
		}
		if o.export != nil {
			if out.ExportName, err = d.scope().text(o.export, path+"/Export/Name"); err != nil {
				return nil, at(path+"/Export/Name", err)
			}
			if _, twice := exportsOf(all)[out.ExportName]; twice {
				return nil, fmt.Errorf("%s/Export/Name: the name %s occurs twice", path, out.ExportName)
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// exportsOf returns the exported values by their export names.
func exportsOf(outputs []localaws.StackOutput) map[string]string {
	exported := map[string]string{}
	for _, o := range outputs {
		if o.ExportName != "" {
			exported[o.ExportName] = o.Value
		}
	}
	return exported
}
