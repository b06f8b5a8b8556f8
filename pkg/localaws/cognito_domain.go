package localaws

import (
	"cmp"
	"regexp"
	"strings"
)

// TakeDomain gives a domain prefix to another account. All accounts of a region
// share the prefixes.
func (s *Server) TakeDomain(prefix string) {
	p := s.cognito
	p.mu.Lock()
	defer p.mu.Unlock()
	p.domains[prefix] = nil
}

// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolDomain.html
var domainRule = textRule{invalidParameter, 1, 63, regexp.MustCompile(`^[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?$`)}

// reservedWords are the words that a prefix must not contain.
// https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html
var reservedWords = []string{"aws", "amazon", "cognito"}

// createDomain gives a pool its one prefix domain. Custom domains are not
// implemented.
func (p *userPools) createDomain(in *struct {
	UserPoolId, Domain  string
	ManagedLoginVersion *int32
}) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(domainRule.check("domain", in.Domain), checkRange(invalidParameter, "managedLoginVersion", in.ManagedLoginVersion, 1, 2)); err != nil {
		return nil, err
	}
	for _, word := range reservedWords {
		if strings.Contains(in.Domain, word) {
			return nil, errorf(invalidParameter, "Domain cannot contain reserved word: %s", word)
		}
	}
	if in.ManagedLoginVersion != nil && *in.ManagedLoginVersion == 2 && pool.UserPoolTier == "LITE" {
		return nil, errorf("FeatureUnavailableInTierException", "Managed login is not available in the LITE tier.")
	}
	if pool.domain != "" {
		return nil, errorf(invalidParameter, "User pool already has a domain configured.")
	}
	if _, taken := p.domains[in.Domain]; taken {
		return nil, errorf(invalidParameter, "Domain already associated with another user pool.")
	}
	pool.domain = in.Domain
	p.domains[in.Domain] = pool
	return struct {
		ManagedLoginVersion *int32 `json:",omitempty"`
	}{in.ManagedLoginVersion}, nil
}

type domainDescription struct {
	AWSAccountId, Domain, Status, UserPoolId string `json:",omitempty"`
}

// describeDomain returns an empty description for a free prefix, and for a
// prefix of another account: it reveals nothing about other accounts.
func (p *userPools) describeDomain(in *struct{ Domain string }) (any, *apiError) {
	if err := domainRule.check("domain", in.Domain); err != nil {
		return nil, err
	}
	var d domainDescription
	if pool := p.domains[in.Domain]; pool != nil {
		d = domainDescription{Account, in.Domain, "ACTIVE", pool.id}
	}
	return struct{ DomainDescription domainDescription }{d}, nil
}

func (p *userPools) deleteDomain(in *struct{ UserPoolId, Domain string }) (any, *apiError) {
	if err := cmp.Or(poolIDRule.check("userPoolId", in.UserPoolId), domainRule.check("domain", in.Domain)); err != nil {
		return nil, err
	}
	pool := p.domains[in.Domain]
	if pool == nil || pool.id != in.UserPoolId {
		return nil, errorf(invalidParameter, "No such domain or user pool exists.")
	}
	pool.domain = ""
	delete(p.domains, in.Domain)
	return nil, nil
}
