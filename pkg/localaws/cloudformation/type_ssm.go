package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

type parameterProperties struct {
	Name           string `cfn:"replace"`
	Type           string `cfn:"required"`
	Value          string `cfn:"required"`
	Description    *string
	AllowedPattern *string
	Tier           string
	Tags           map[string]string
}

// put writes the parameter. A new one must not exist yet. Only a new one can get
// tags.
func (p *parameterProperties) put(ctx context.Context, r *request, name string, overwrite bool) (made, error) {
	if p.Type != "String" && p.Type != "StringList" {
		return made{}, fmt.Errorf("Type %.40q: want String or StringList", p.Type)
	}
	in := &ssm.PutParameterInput{
		Name: &name, Value: &p.Value, Type: types.ParameterType(p.Type), Description: p.Description,
		AllowedPattern: p.AllowedPattern, Tier: types.ParameterTier(p.Tier), Overwrite: aws.Bool(overwrite),
	}
	if !overwrite {
		for _, key := range slices.Sorted(maps.Keys(p.Tags)) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(p.Tags[key])})
		}
	}
	if _, err := ssm.NewFromConfig(r.aws.AWSConfig()).PutParameter(ctx, in); err != nil {
		return made{}, err
	}
	return made{id: name, attributes: map[string]any{"Type": p.Type, "Value": p.Value}}, nil
}

var parameterType = native[parameterProperties]{
	attributes: []string{"Type", "Value"},
	made: func(ctx context.Context, r *request, p parameterProperties) (made, error) {
		return p.put(ctx, r, r.name(p.Name, 1011), false)
	},
	changed: func(ctx context.Context, r *request, p, old parameterProperties) (made, error) {
		if !maps.Equal(p.Tags, old.Tags) {
			return made{}, errors.New("a change of Tags is not implemented")
		}
		return p.put(ctx, r, r.id, true)
	},
	removed: func(ctx context.Context, r *request, _ parameterProperties) error {
		_, err := ssm.NewFromConfig(r.aws.AWSConfig()).DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &r.id})
		var gone *types.ParameterNotFound
		if errors.As(err, &gone) {
			return nil
		}
		return err
	},
}
