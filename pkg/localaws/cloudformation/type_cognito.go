package cloudformation

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider"
	"github.com/aws/aws-sdk-go-v2/service/cognitoidentityprovider/types"
)

type userPoolProperties struct {
	UserPoolName          string
	AdminCreateUserConfig *struct{ AllowAdminCreateUserOnly bool }
	DeletionProtection    string
	MfaConfiguration      string
	Policies              *struct {
		PasswordPolicy *struct {
			MinimumLength                 int
			RequireLowercase              bool
			RequireNumbers                bool
			RequireSymbols                bool
			RequireUppercase              bool
			TemporaryPasswordValidityDays int
		}
	}
	UserPoolTags map[string]string
	UserPoolTier string
}

func (r *request) cognito() *cognitoidentityprovider.Client {
	return cognitoidentityprovider.NewFromConfig(r.aws.AWSConfig())
}

func (p *userPoolProperties) admin() *types.AdminCreateUserConfigType {
	if p.AdminCreateUserConfig == nil {
		return nil
	}
	return &types.AdminCreateUserConfigType{AllowAdminCreateUserOnly: p.AdminCreateUserConfig.AllowAdminCreateUserOnly}
}

func (p *userPoolProperties) policies() *types.UserPoolPolicyType {
	if p.Policies == nil || p.Policies.PasswordPolicy == nil {
		return nil
	}
	policy := p.Policies.PasswordPolicy
	return &types.UserPoolPolicyType{PasswordPolicy: &types.PasswordPolicyType{
		MinimumLength:    aws.Int32(int32(policy.MinimumLength)),
		RequireLowercase: policy.RequireLowercase, RequireNumbers: policy.RequireNumbers,
		RequireSymbols: policy.RequireSymbols, RequireUppercase: policy.RequireUppercase,
		TemporaryPasswordValidityDays: int32(policy.TemporaryPasswordValidityDays),
	}}
}

// is returns the attributes of a pool. Its provider URL is the issuer of its
// tokens, which here is the stand-in.
func (p *userPoolProperties) is(r *request, id string) made {
	region := r.aws.AWSConfig().Region
	return made{id: id, attributes: map[string]any{
		"Arn":          r.arn("cognito-idp", "userpool/"+id),
		"UserPoolId":   id,
		"ProviderName": "cognito-idp." + region + ".amazonaws.com/" + id,
		"ProviderURL":  r.aws.URL() + "/" + id,
	}}
}

var userPoolType = native[userPoolProperties]{
	attributes: []string{"Arn", "ProviderName", "ProviderURL", "UserPoolId"},
	made: func(ctx context.Context, r *request, p userPoolProperties) (made, error) {
		name := r.name(p.UserPoolName, 128)
		out, err := r.cognito().CreateUserPool(ctx, &cognitoidentityprovider.CreateUserPoolInput{
			PoolName: &name, AdminCreateUserConfig: p.admin(), Policies: p.policies(), UserPoolTags: p.UserPoolTags,
			DeletionProtection: types.DeletionProtectionType(p.DeletionProtection),
			MfaConfiguration:   types.UserPoolMfaType(p.MfaConfiguration),
			UserPoolTier:       types.UserPoolTierType(p.UserPoolTier),
		})
		if err != nil {
			return made{}, err
		}
		return p.is(r, *out.UserPool.Id), nil
	},
	changed: func(ctx context.Context, r *request, p, _ userPoolProperties) (made, error) {
		in := &cognitoidentityprovider.UpdateUserPoolInput{
			UserPoolId: &r.id, AdminCreateUserConfig: p.admin(), Policies: p.policies(), UserPoolTags: p.UserPoolTags,
			DeletionProtection: types.DeletionProtectionType(p.DeletionProtection),
			MfaConfiguration:   types.UserPoolMfaType(p.MfaConfiguration),
			UserPoolTier:       types.UserPoolTierType(p.UserPoolTier),
		}
		if p.UserPoolName != "" {
			in.PoolName = &p.UserPoolName
		}
		if _, err := r.cognito().UpdateUserPool(ctx, in); err != nil {
			return made{}, err
		}
		return p.is(r, r.id), nil
	},
	removed: func(ctx context.Context, r *request, _ userPoolProperties) error {
		_, err := r.cognito().DeleteUserPool(ctx, &cognitoidentityprovider.DeleteUserPoolInput{UserPoolId: &r.id})
		return ignoreGone(err)
	},
}

// ignoreGone returns nil if Cognito did not find the object.
func ignoreGone(err error) error {
	var gone *types.ResourceNotFoundException
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

type userPoolDomainProperties struct {
	UserPoolId string `cfn:"required,replace"`
	Domain     string `cfn:"required,replace"`
}

var userPoolDomainType = native[userPoolDomainProperties]{
	made: func(ctx context.Context, r *request, p userPoolDomainProperties) (made, error) {
		in := &cognitoidentityprovider.CreateUserPoolDomainInput{UserPoolId: &p.UserPoolId, Domain: &p.Domain}
		if _, err := r.cognito().CreateUserPoolDomain(ctx, in); err != nil {
			return made{}, err
		}
		return made{id: p.Domain}, nil
	},
	removed: func(ctx context.Context, r *request, p userPoolDomainProperties) error {
		_, err := r.cognito().DeleteUserPoolDomain(ctx, &cognitoidentityprovider.DeleteUserPoolDomainInput{UserPoolId: &p.UserPoolId, Domain: &p.Domain})
		var invalid *types.InvalidParameterException
		if errors.As(err, &invalid) && strings.Contains(invalid.ErrorMessage(), "No such domain") {
			return nil
		}
		return ignoreGone(err)
	},
}
