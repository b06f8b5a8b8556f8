package cloudformation

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The functions that each part of a template may use.
var (
	inConditions = []string{fnRef, fnCondition, fnEquals, fnNot, fnAnd, fnOr, fnSub, fnJoin, fnSelect, fnSplit}
	inValues     = []string{fnRef, fnGetAtt, fnSub, fnJoin, fnSelect, fnSplit, fnIf, fnImport}
)

// check refuses what is wrong regardless of parameters.
func (t *Template) check() error {
	resources, outputs, err := t.expand(func(string, string) (map[string]any, error) {
		return map[string]any{"S3Bucket": "", "S3Key": ""}, nil
	})
	if err != nil {
		return err
	}
	if len(resources) > maxResources {
		return fmt.Errorf("Resources: %d after the transform, at most %d are allowed", len(resources), maxResources)
	}
	c := &checker{t: t, resources: resources}
	followed := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(t.conditions)) {
		path := "Conditions/" + name
		c.functions(t.conditions[name], path, inConditions)
		if !followed[name] {
			c.circle(name, followed)
		}
		references(t.conditions[name], path, nil, func(r reference) {
			if r.attribute != "" || t.parameters[r.name] == nil && !slices.Contains(pseudoParameters, r.name) {
				c.refuse(path, "%s is not a parameter", r.name)
			}
		})
	}
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		d := resources[id]
		path := "Resources/" + id
		kind, err := typeOf(d.resourceType)
		if err != nil {
			c.refuse(path, "%v", err)
			continue
		}
		c.condition(d.condition, path)
		for _, other := range d.dependsOn {
			if resources[other] == nil || other == id {
				c.refuse(path+"/DependsOn", "%s is not another resource", other)
			}
		}
		c.value(d.properties, path+"/Properties")
		if err := kind.check(d.properties, path+"/Properties"); err != nil {
			c.errs = append(c.errs, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		c.condition(outputs[name].condition, "Outputs/"+name)
		c.value(outputs[name].value, "Outputs/"+name+"/Value")
		c.value(outputs[name].export, "Outputs/"+name+"/Export/Name")
	}
	return errors.Join(c.errs...)
}

type checker struct {
	t         *Template
	resources map[string]*declaration
	errs      []error
}

func (c *checker) refuse(path, format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+format, append([]any{path}, args...)...))
}

func (c *checker) condition(name, path string) {
	if _, ok := c.t.conditions[name]; !ok && name != "" {
		c.refuse(path, "there is no condition %.200q", name)
	}
}

// value checks a value of a resource or an output.
func (c *checker) value(v any, path string) {
	c.functions(v, path, inValues)
	references(v, path, nil, func(r reference) {
		d := c.resources[r.name]
		switch {
		case r.attribute == "" && (d != nil || c.t.parameters[r.name] != nil || slices.Contains(pseudoParameters, r.name)):
		case r.attribute == "":
			c.refuse(r.path, "there is no parameter or resource %.200q", r.name)
		case d == nil:
			c.refuse(r.path, "there is no resource %.200q", r.name)
		default:
			if kind, err := typeOf(d.resourceType); err == nil && !kind.hasAttribute(r.attribute) {
				c.refuse(r.path, "%s has no attribute %.200q that is implemented", d.resourceType, r.attribute)
			}
		}
	})
}

// functions refuses functions that must not be used in v, and references to
// missing conditions.
func (c *checker) functions(v any, path string, allowed []string) {
	calls(v, path, func(v *call, list []any, path string) {
		if !slices.Contains(allowed, v.fn) {
			c.refuse(path, "%s cannot be used here", v.fn)
			return
		}
		switch v.fn {
		case fnCondition:
			c.condition(v.arg.(string), path)
		case fnImport: // is looked up before resources exist
			references(v.arg, path, nil, func(r reference) {
				if c.resources[r.name] != nil {
					c.refuse(path, "%s: the name must not depend on the resource %s", v.fn, r.name)
				}
			})
		case fnIf:
			c.condition(list[0].(string), path)
		case fnNot, fnAnd, fnOr:
			for _, item := range list {
				if inner, ok := item.(*call); !ok || !slices.Contains([]string{fnCondition, fnEquals, fnNot, fnAnd, fnOr}, inner.fn) {
					c.refuse(path, "%s: want conditions", v.fn)
				}
			}
		}
		c.functions(v.arg, path, allowed)
	})
}

// circle refuses conditions that refer to each other in a circle. done has true
// for conditions that have been checked, and false for those that are being
// checked.
func (c *checker) circle(name string, done map[string]bool) {
	done[name] = false
	var walk func(v any)
	walk = func(v any) {
		calls(v, "", func(v *call, _ []any, _ string) {
			if v.fn != fnCondition {
				walk(v.arg)
				return
			}
			other := v.arg.(string)
			if finished, begun := done[other]; !begun {
				c.circle(other, done)
			} else if !finished {
				c.refuse("Conditions/"+name, "the condition %s goes in a circle", other)
			}
		})
	}
	walk(c.t.conditions[name])
	done[name] = true
}
