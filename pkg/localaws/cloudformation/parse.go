package cloudformation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of a template.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
const (
	maxTemplate    = 1 << 20
	maxDescription = 1024
	maxResources   = 500 // after the transform too
	maxParameters  = 200
	maxOutputs     = 200
)

const (
	formatVersion       = "2010-09-09"
	serverlessTransform = "AWS::Serverless-2016-10-31"
)

// Template is a parsed template that this package can deploy. It is immutable.
type Template struct {
	Description string

	parameters map[string]*parameter
	conditions map[string]any
	serverless bool           // the Transform is there
	globals    map[string]any // of functions
	resources  map[string]*declaration
	outputs    map[string]*output
}

// declaration is the declaration of one resource in a template.
type declaration struct {
	logicalID    string
	resourceType string
	properties   map[string]any
	dependsOn    []string
	condition    string // empty: none
	deletion     string // DeletionPolicy; empty: Delete
	replacement  string // UpdateReplacePolicy; empty: Delete
}

type output struct {
	value       any
	export      any // nil: none
	condition   string
	description string
}

var logicalID = regexp.MustCompile(`^[a-zA-Z0-9]{1,255}$`)

// Parse reads a template in YAML or JSON. It refuses by name what this package
// does not implement: a section, a function, a resource type or a property.
func Parse(r io.Reader) (*Template, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxTemplate+1))
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	if len(body) > maxTemplate {
		return nil, fmt.Errorf("reading the template: it has more than %d bytes", maxTemplate)
	}
	t, err := parse(body)
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	return t, nil
}

func parse(body []byte) (*Template, error) {
	dec := yaml.NewDecoder(bytes.NewReader(body))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("empty")
	}
	sections, err := mapping(doc.Content[0], "the template")
	if err != nil {
		return nil, err
	}
	t := &Template{parameters: map[string]*parameter{}, conditions: map[string]any{}, resources: map[string]*declaration{}, outputs: map[string]*output{}}
	read := map[string]func(*yaml.Node) error{
		"AWSTemplateFormatVersion": func(n *yaml.Node) error {
			if n.Value != formatVersion {
				return fmt.Errorf("AWSTemplateFormatVersion: want %q", formatVersion)
			}
			return nil
		},
		"Transform": t.readTransform,
		"Description": func(n *yaml.Node) error {
			v, err := reader{}.value(n, "Description", 0)
			t.Description, _ = v.(string)
			if len(t.Description) > maxDescription {
				err = fmt.Errorf("Description: %d bytes, at most %d are allowed", len(t.Description), maxDescription)
			}
			return err
		},
		"Metadata":   func(*yaml.Node) error { return nil }, // for tools; it changes nothing
		"Parameters": func(n *yaml.Node) error { return eachEntry(n, "Parameters", maxParameters, t.readParameter) },
		"Conditions": func(n *yaml.Node) error { return eachEntry(n, "Conditions", maxResources, t.readCondition) },
		"Globals":    t.readGlobals,
		"Resources":  func(n *yaml.Node) error { return eachEntry(n, "Resources", maxResources, t.readResource) },
		"Outputs":    func(n *yaml.Node) error { return eachEntry(n, "Outputs", maxOutputs, t.readOutput) },
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(sections)) {
		f := read[name]
		if f == nil {
			errs = append(errs, fmt.Errorf("section %.80q is not implemented", name))
			continue
		}
		errs = append(errs, f(sections[name]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(t.resources) == 0 {
		return nil, errors.New("at least one resource must be defined")
	}
	return t, nil
}

// eachEntry calls f with each entry of a section.
func eachEntry(n *yaml.Node, section string, most int, f func(name string, n *yaml.Node) error) error {
	entries, err := mapping(n, section)
	if err != nil {
		return err
	}
	if len(entries) > most {
		return fmt.Errorf("%s: %d entries, at most %d are allowed", section, len(entries), most)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if !logicalID.MatchString(name) {
			errs = append(errs, fmt.Errorf("%s: %.80q: want letters and digits", section, name))
			continue
		}
		errs = append(errs, f(name, entries[name]))
	}
	return errors.Join(errs...)
}

func (t *Template) readTransform(n *yaml.Node) error {
	v, err := reader{}.value(n, "Transform", 0)
	if err != nil {
		return err
	}
	if list, ok := v.([]any); ok && len(list) == 1 {
		v = list[0]
	}
	if v != serverlessTransform {
		return fmt.Errorf("Transform: only %s is implemented", serverlessTransform)
	}
	t.serverless = true
	return nil
}

func (t *Template) readGlobals(n *yaml.Node) error {
	all, err := members(n, "Globals")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != "Function" {
			return fmt.Errorf("Globals/%s is not implemented", name)
		}
	}
	var ok bool
	if t.globals, ok = all["Function"].(map[string]any); !ok {
		return errors.New("Globals/Function: want a mapping")
	}
	return nil
}

func (t *Template) readCondition(name string, n *yaml.Node) error {
	path := "Conditions/" + name
	v, err := reader{conditions: true}.value(n, path, 0)
	if err != nil {
		return err
	}
	if c, ok := v.(*call); !ok || !slices.Contains([]string{fnEquals, fnNot, fnAnd, fnOr, fnCondition}, c.fn) {
		return fmt.Errorf("%s: want one of the functions Equals, Not, And, Or, Condition", path)
	}
	t.conditions[name] = v
	return nil
}

// readResource reads one resource. It ignores Metadata, which is for tools.
func (t *Template) readResource(name string, n *yaml.Node) error {
	path := "Resources/" + name
	members, err := mapping(n, path)
	if err != nil {
		return err
	}
	delete(members, "Metadata")
	d := &declaration{logicalID: name, properties: map[string]any{}}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(members)) {
		v, err := reader{}.value(members[key], path+"/"+key, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		text, ok := v.(string)
		switch key {
		case "Type":
			d.resourceType = text
		case "Condition":
			d.condition = text
		case "DeletionPolicy":
			d.deletion = text
			ok = ok && slices.Contains([]string{"Delete", "Retain", "RetainExceptOnCreate"}, text)
		case "UpdateReplacePolicy":
			d.replacement = text
			ok = ok && slices.Contains([]string{"Delete", "Retain"}, text)
		case "DependsOn":
			if ok {
				v = []any{text}
			}
			d.dependsOn, ok = texts(v)
		case "Properties":
			d.properties, ok = v.(map[string]any)
		default:
			errs = append(errs, fmt.Errorf("%s: the attribute %s is not implemented", path, key))
			continue
		}
		if !ok {
			errs = append(errs, fmt.Errorf("%s/%s: not a value that is implemented", path, key))
		}
	}
	if d.resourceType == "" && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s: Type is missing", path))
	}
	t.resources[name] = d
	return errors.Join(errs...)
}

func (t *Template) readOutput(name string, n *yaml.Node) error {
	path := "Outputs/" + name
	members, err := members(n, path)
	if err != nil {
		return err
	}
	o := &output{}
	for _, key := range slices.Sorted(maps.Keys(members)) {
		ok := true
		switch key {
		case "Description":
			o.description, ok = members[key].(string)
		case "Condition":
			o.condition, ok = members[key].(string)
		case "Value":
			o.value = members[key]
		case "Export":
			export, _ := members[key].(map[string]any)
			if o.export = export["Name"]; o.export == nil || len(export) > 1 {
				return fmt.Errorf("%s/Export: want a Name", path)
			}
		default:
			return fmt.Errorf("%s: %s is not implemented", path, key)
		}
		if !ok {
			return fmt.Errorf("%s/%s: want a text", path, key)
		}
	}
	if o.value == nil {
		return fmt.Errorf("%s: Value is missing", path)
	}
	t.outputs[name] = o
	return nil
}

// members reads a mapping of values.
func members(n *yaml.Node, path string) (map[string]any, error) {
	v, err := reader{}.value(n, path, 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: want a mapping", path)
	}
	return m, nil
}

// texts returns v as a list of texts.
func texts(v any) ([]string, bool) {
	list, ok := v.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, isText := item.(string)
		out, ok = append(out, s), ok && isText
	}
	return out, ok
}

// text returns a scalar as CloudFormation writes it: true, 3600.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return map[bool]string{true: "true", false: "false"}[v], true
	case json.Number:
		return strings.TrimSpace(v.String()), true
	}
	return "", false
}
