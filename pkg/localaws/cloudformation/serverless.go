package cloudformation

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// serverlessFunction is the one type of the transform that is implemented.
const serverlessFunction = "AWS::Serverless::Function"

// MarshalJSON writes the long form.
func (c *call) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]any{c.fn: c.arg}) }

// packager returns the Code property of a function for its CodeUri, as `sam
// package` does.
type packager func(logicalID, codeURI string) (map[string]any, error)

// expand returns the template's resources and outputs after the Serverless
// transform: the same resources under the same logical ids as aws-sam-translator
// 1.110 makes.
// https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources.html
func (t *Template) expand(code packager) (map[string]*declaration, map[string]*output, error) {
	x := &expansion{code: code, resources: map[string]*declaration{}, names: map[string]string{}}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(t.resources)) {
		d := t.resources[id]
		switch {
		case d.resourceType != serverlessFunction:
			x.add(d)
		case !t.serverless:
			errs = append(errs, fmt.Errorf("Resources/%s: %s needs Transform: %s", id, d.resourceType, serverlessTransform))
		default:
			if err := x.function(d, t.globals); err != nil {
				errs = append(errs, fmt.Errorf("Resources/%s: %w", id, err))
			}
		}
	}
	if err := errors.Join(append(errs, x.errs...)...); err != nil {
		return nil, nil, err
	}
	outputs := map[string]*output{}
	for id, o := range t.outputs {
		outputs[id] = &output{x.rename(o.value), o.export, o.condition, o.description}
	}
	for _, d := range x.resources {
		d.properties = x.rename(d.properties).(map[string]any)
	}
	return x.resources, outputs, nil
}

// expansion is the state of the transform.
type expansion struct {
	code      packager
	resources map[string]*declaration
	names     map[string]string // Function.Version, Function.Alias to the logical id they stand for
	errs      []error
}

// add adds a copy of a resource.
func (x *expansion) add(d *declaration) {
	if x.resources[d.logicalID] != nil {
		x.errs = append(x.errs, fmt.Errorf("Resources/%s: the transform makes a resource of this logical id", d.logicalID))
	}
	c := *d
	x.resources[d.logicalID] = &c
}

// rename replaces Function.Version and Function.Alias in a value by the logical
// ids they stand for.
func (x *expansion) rename(v any) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = x.rename(item)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, item := range v {
			m[key] = x.rename(item)
		}
		return m
	case *call:
		if name, ok := v.arg.(string); ok && v.fn == fnRef && x.names[name] != "" {
			return &call{fnRef, x.names[name]}
		}
		c := &call{v.fn, x.rename(v.arg)}
		if text, list := subText(c.arg); v.fn == fnSub {
			text = substitution.ReplaceAllStringFunc(text, func(m string) string {
				if to := x.names[m[2:len(m)-1]]; to != "" {
					return "${" + to + "}"
				}
				return m
			})
			c.arg = text
			if list != nil {
				c.arg = []any{text, list[1]}
			}
		}
		return c
	}
	return v
}

// subText is the text of an argument of Fn::Sub, and the argument when it is a
// list.
func subText(arg any) (string, []any) {
	list, _ := arg.([]any)
	if list != nil {
		arg = list[0]
	}
	text, _ := arg.(string)
	return text, list
}

// passed are the properties that keep their names.
var passed = []string{
	"FunctionName", "Handler", "Runtime", "Description", "MemorySize", "Timeout", "Role", "Environment",
	"ReservedConcurrentExecutions", "Architectures", "LoggingConfig",
}

// changed are the properties that the transform turns into something else.
var changed = []string{
	"AutoPublishAlias", "AutoPublishAliasAllProperties", "CodeUri", "DeadLetterQueue", "EventInvokeConfig", "Events", "FunctionUrlConfig",
	"Policies", "Tags", "Tracing", "VersionDescription",
}

// notGlobal are the properties that Globals cannot set.
var notGlobal = []string{"FunctionName", "Role", "Policies", "Events", "VersionDescription"}

// functionParts is a function that is being transformed.
type functionParts struct {
	*expansion
	of         *declaration
	properties map[string]any
	lambda     *declaration
	role       *declaration // nil: the template has one
	alias      *declaration // nil: none
}

func (x *expansion) function(d *declaration, globals map[string]any) error {
	var errs []error
	for _, from := range []struct {
		name       string
		properties map[string]any
		not        []string
	}{{"Globals/Function", globals, notGlobal}, {"Properties", d.properties, nil}} {
		for _, key := range slices.Sorted(maps.Keys(from.properties)) {
			if !slices.Contains(passed, key) && !slices.Contains(changed, key) || slices.Contains(from.not, key) {
				errs = append(errs, fmt.Errorf("%s: %s of %s is not implemented", from.name, key, d.resourceType))
			}
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	p, _ := merge(globals, d.properties).(map[string]any)
	f := &functionParts{expansion: x, of: d, properties: p}
	for _, step := range []func() error{f.makeFunction, f.makeRole, f.makeVersion, f.makeURL, f.makeInvokeConfig, f.makeEvents} {
		if err := step(); err != nil {
			return err
		}
	}
	x.add(f.lambda)
	if f.role != nil {
		x.add(f.role)
	}
	return nil
}

// merge combines a function's own properties with the global ones: it merges
// mappings and joins lists; anything else is replaced.
// https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html
func merge(global, local any) any {
	switch l := local.(type) {
	case map[string]any:
		if g, ok := global.(map[string]any); ok {
			m := maps.Clone(g)
			if m == nil {
				m = map[string]any{}
			}
			for key, v := range l {
				if common, ok := g[key]; ok {
					v = merge(common, v)
				}
				m[key] = v
			}
			return m
		}
	case []any:
		if g, ok := global.([]any); ok {
			return slices.Concat(g, l)
		}
	}
	return local
}

// part makes a resource that belongs to the function.
func (f *functionParts) part(suffix, resourceType string, properties map[string]any) *declaration {
	d := *f.of
	d.logicalID, d.resourceType, d.properties, d.dependsOn = d.logicalID+suffix, resourceType, properties, nil
	return &d
}

// mapping reads a property that must be a literal mapping.
func (f *functionParts) mapping(name string) (map[string]any, error) {
	v, ok := f.properties[name]
	if !ok {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: want a mapping, written out", name)
	}
	return m, nil
}

// createdBy is the tag that the transform puts on resources.
var createdBy = map[string]any{"Key": "lambda:createdBy", "Value": "SAM"}

func (f *functionParts) makeFunction() error {
	p := map[string]any{}
	for _, name := range passed {
		if v, ok := f.properties[name]; ok {
			p[name] = v
		}
	}
	uri, ok := f.properties["CodeUri"].(string)
	if !ok {
		return errors.New("CodeUri: want a folder")
	}
	code, err := f.code(f.of.logicalID, uri)
	if err != nil {
		return err
	}
	p["Code"] = code
	if tracing, ok := f.properties["Tracing"]; ok && tracing != "Disabled" {
		p["TracingConfig"] = map[string]any{"Mode": tracing}
	}
	queue, err := f.mapping("DeadLetterQueue")
	if err != nil {
		return err
	}
	if queue != nil {
		if err := known("DeadLetterQueue", queue, "Type", "TargetArn"); err != nil {
			return err
		}
		if t := queue["Type"]; t != "SQS" && t != "SNS" || queue["TargetArn"] == nil {
			return errors.New("DeadLetterQueue: want a Type, SQS or SNS, and a TargetArn")
		}
		p["DeadLetterConfig"] = map[string]any{"TargetArn": queue["TargetArn"]}
	}
	tags, err := f.mapping("Tags")
	if err != nil {
		return err
	}
	list := []any{createdBy}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, map[string]any{"Key": key, "Value": tags[key]})
	}
	p["Tags"] = list
	d := *f.of
	d.resourceType, d.properties = lambdaFunction, p
	f.lambda = &d
	return nil
}

// known refuses keys of a mapping that are not among keys.
func known(name string, m map[string]any, keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("%s: %s is not implemented", name, key)
		}
	}
	return nil
}

func attribute(d *declaration, name string) *call {
	return &call{fnGetAtt, []any{d.logicalID, name}}
}

func ref(d *declaration) *call { return &call{fnRef, d.logicalID} }

// makeVersion makes the version and the alias of AutoPublishAlias. If the code,
// the memory or the environment's text in the template changes, the version gets
// another logical id, and the alias points to it. A change of a parameter's
// value does not count.
func (f *functionParts) makeVersion() error {
	name, ok := f.properties["AutoPublishAlias"]
	if !ok {
		return nil
	}
	alias, ok := name.(string)
	if !ok || alias == "" {
		return errors.New("AutoPublishAlias: want a name, written out")
	}
	from := map[string]any{}
	if f.properties["AutoPublishAliasAllProperties"] == true {
		maps.Copy(from, f.lambda.properties)
	} else {
		maps.Copy(from, f.lambda.properties["Code"].(map[string]any))
		if env, ok := f.lambda.properties["Environment"].(map[string]any); ok {
			maps.Copy(from, env)
		}
		if memory, ok := f.lambda.properties["MemorySize"]; ok {
			from["MemorySize"] = memory
		}
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(from); err != nil {
		return err
	}
	sum := sha1.Sum(bytes.TrimSpace(doc.Bytes()))
	version := f.part("Version"+hex.EncodeToString(sum[:])[:10], lambdaVersion, map[string]any{"FunctionName": ref(f.lambda)})
	if v, ok := f.properties["VersionDescription"]; ok {
		version.properties["Description"] = v
	}
	// The version stays when another replaces it, and is deleted with the
	// function.
	if version.deletion == "" {
		version.deletion = retain
	}
	f.alias = f.part("Alias"+strings.NewReplacer("-", "D", "_", "U").Replace(alias), lambdaAlias, map[string]any{
		"Name": alias, "FunctionName": ref(f.lambda), "FunctionVersion": attribute(version, "Version"),
	})
	f.add(version)
	f.add(f.alias)
	f.names[f.of.logicalID+".Version"] = version.logicalID
	f.names[f.of.logicalID+".Alias"] = f.alias.logicalID
	return nil
}

// target returns the function or its alias, by name, for Lambda.
func (f *functionParts) target() *call {
	if f.alias != nil {
		return ref(f.alias)
	}
	return ref(f.lambda)
}

// targetARN is target by ARN, for other services.
func (f *functionParts) targetARN() *call {
	if f.alias != nil {
		return ref(f.alias)
	}
	return attribute(f.lambda, "Arn")
}

func (f *functionParts) makeURL() error {
	config, err := f.mapping("FunctionUrlConfig")
	if err != nil || config == nil {
		return err
	}
	if config["AuthType"] != "AWS_IAM" {
		return errors.New("FunctionUrlConfig: only AuthType AWS_IAM is implemented")
	}
	p := maps.Clone(config)
	p["TargetFunctionArn"] = f.target()
	f.add(f.part("Url", lambdaURL, p))
	return nil
}

func (f *functionParts) makeInvokeConfig() error {
	config, err := f.mapping("EventInvokeConfig")
	if err != nil || config == nil {
		return err
	}
	if config["DestinationConfig"] != nil {
		return errors.New("EventInvokeConfig: DestinationConfig is not implemented")
	}
	p := maps.Clone(config)
	p["FunctionName"], p["Qualifier"] = ref(f.lambda), "$LATEST"
	d := f.part("EventInvokeConfig", lambdaInvokeConfig, p)
	if f.alias != nil {
		p["Qualifier"] = f.alias.properties["Name"]
		d.dependsOn = []string{f.alias.logicalID}
	}
	f.add(d)
	return nil
}
