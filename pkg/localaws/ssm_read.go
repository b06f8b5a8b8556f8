package localaws

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// checkNames applies the limits on a list of names. Selectors (name:version)
// and ARNs are not implemented and fail the name pattern.
func checkNames(names []string) *apiError {
	if len(names) == 0 || len(names) > namesPerCall {
		return errorf("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length between 1 and %d", namesPerCall)
	}
	for i, name := range names {
		if err := parameterName.check("names", name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return errorf("ValidationException", "Duplicate names in the request: %s", name)
		}
	}
	return nil
}

// parameterView is a parameter in the answers of the read operations.
type parameterView struct {
	Name, Type, Value string
	Version           int64
	LastModifiedDate  epoch
	ARN, DataType     string
}

// view returns a parameter as the API shows it. The value of a SecureString is
// decrypted only if decrypt is set.
func (p *parameterStore) view(param *parameter, decrypt bool) parameterView {
	v := parameterView{
		Name: param.Name, Type: param.Type, Value: param.Value, Version: param.Version,
		LastModifiedDate: epoch(param.Modified), ARN: p.arn(param.Name), DataType: "text",
	}
	if param.Type == "SecureString" && !decrypt {
		v.Value = param.ciphertext
	}
	return v
}

func (p *parameterStore) get(r *http.Request, in *struct {
	Name           string
	WithDecryption bool
}) (any, *apiError) {
	if err := parameterName.check("name", in.Name); err != nil {
		return nil, err
	}
	param := p.parameters[in.Name]
	if param == nil {
		return nil, errorf("ParameterNotFound", "Parameter %s not found.", in.Name)
	}
	if err := p.decrypts(r, param, in.WithDecryption); err != nil {
		return nil, err
	}
	return struct{ Parameter parameterView }{p.view(param, in.WithDecryption)}, nil
}

// getAll returns parameters in alphabetical order, as the GetParameters page
// says.
func (p *parameterStore) getAll(r *http.Request, in *struct {
	Names          []string
	WithDecryption bool
}) (any, *apiError) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	found, invalid := []parameterView{}, []string{}
	for _, name := range slices.Sorted(slices.Values(in.Names)) {
		if param := p.parameters[name]; param != nil {
			if err := p.decrypts(r, param, in.WithDecryption); err != nil {
				return nil, err
			}
			found = append(found, p.view(param, in.WithDecryption))
		} else {
			invalid = append(invalid, name)
		}
	}
	return struct {
		Parameters        []parameterView
		InvalidParameters []string
	}{found, invalid}, nil
}

func (p *parameterStore) getByPath(r *http.Request, in *struct {
	Path                      string
	Recursive, WithDecryption bool
	MaxResults                *int32
	NextToken                 *string
}) (any, *apiError) {
	if err := cmp.Or(
		parameterName.check("path", in.Path),
		checkRange("ValidationException", "maxResults", in.MaxResults, 1, 10),
	); err != nil {
		return nil, err
	}
	names, err := p.below(in.Path, in.Recursive)
	if err != nil {
		return nil, err
	}
	names, next, ok := page(names, func(n string) string { return n }, "GetParametersByPath "+in.Path, in.NextToken, limit(in.MaxResults, 10))
	if !ok {
		return nil, errorf("InvalidNextToken", "The specified token isn't valid.")
	}
	found := []parameterView{}
	for _, name := range names {
		if err := p.decrypts(r, p.parameters[name], in.WithDecryption); err != nil {
			return nil, err
		}
		found = append(found, p.view(p.parameters[name], in.WithDecryption))
	}
	return struct {
		Parameters []parameterView
		NextToken  *string `json:",omitempty"`
	}{found, next}, nil
}

// below lists the names at a path, sorted: those of the first level, or with
// recursive those of all levels.
func (p *parameterStore) below(path string, recursive bool) ([]string, *apiError) {
	if path[0] != '/' || strings.Contains(path, "//") {
		return nil, errorf("ValidationException", "The parameter path must begin with a forward slash and have no empty level.")
	}
	path = strings.TrimSuffix(path, "/") + "/"
	if levels := strings.Count(path, "/") - 1; levels > hierarchyDepth {
		return nil, errorf("ValidationException", "The parameter path has %d levels; the maximum is %d.", levels, hierarchyDepth)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.parameters)) {
		rest, under := strings.CutPrefix(name, path)
		if path == "/" && !strings.HasPrefix(name, "/") {
			rest, under = name, true // a name without a slash is at the root
		}
		if under && (recursive || !strings.Contains(rest, "/")) {
			names = append(names, name)
		}
	}
	return names, nil
}

// limit returns the limit that a caller asked for, or the default.
func limit(asked *int32, most int) int {
	if asked == nil {
		return most
	}
	return int(*asked)
}

// parameterMetadata is a parameter as DescribeParameters answers it.
type parameterMetadata struct {
	Name, ARN, Type, Tier, DataType string
	KeyId, Description              string `json:",omitempty"`
	Version                         int64
	LastModifiedDate                epoch
}

// parameterFilter is one filter of DescribeParameters. Only Path is implemented.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ParameterStringFilter.html
type parameterFilter struct {
	Key, Option string
	Values      []string
}

// filtered lists the names that pass a filter.
func (p *parameterStore) filtered(f parameterFilter) ([]string, *apiError) {
	switch {
	case f.Key != "Path":
		return nil, unimplemented("parameter filter %.140q", f.Key)
	case f.Option != "" && f.Option != "OneLevel" && f.Option != "Recursive":
		return nil, errorf("InvalidFilterOption", "The filter Path has the options OneLevel and Recursive.")
	case len(f.Values) != 1:
		return nil, unimplemented("parameter filters of %d values", len(f.Values))
	}
	if err := parameterName.check("parameterFilters.values", f.Values[0]); err != nil {
		return nil, err
	}
	return p.below(f.Values[0], f.Option == "Recursive")
}

func (p *parameterStore) describe(in *struct {
	ParameterFilters []parameterFilter
	MaxResults       *int32
	NextToken        *string
}) (any, *apiError) {
	if err := checkRange("ValidationException", "maxResults", in.MaxResults, 1, 50); err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(p.parameters))
	for i, f := range in.ParameterFilters {
		if i > 0 {
			return nil, unimplemented("more than one parameter filter")
		}
		var err *apiError
		if names, err = p.filtered(f); err != nil {
			return nil, err
		}
	}
	names, next, ok := page(names, func(n string) string { return n }, fmt.Sprint("DescribeParameters ", in.ParameterFilters), in.NextToken, limit(in.MaxResults, 50))
	if !ok {
		return nil, errorf("InvalidNextToken", "The specified token isn't valid.")
	}
	found := []parameterMetadata{}
	for _, name := range names {
		param := p.parameters[name]
		m := parameterMetadata{
			Name: name, ARN: p.arn(name), Type: param.Type, Tier: param.Tier, DataType: "text", Description: param.Description,
			Version: param.Version, LastModifiedDate: epoch(param.Modified), KeyId: param.KeyID,
		}
		if m.Type == "SecureString" && m.KeyId == "" {
			m.KeyId = "alias/aws/ssm"
		}
		found = append(found, m)
	}
	return struct {
		Parameters []parameterMetadata
		NextToken  *string `json:",omitempty"`
	}{found, next}, nil
}
