package localaws

import (
	"cmp"
	"maps"
	"regexp"
)

// resourceServer is one resource server of a pool.
type resourceServer struct {
	seq              int
	identifier, name string
	scopes           []scope
}

type scope struct{ ScopeName, ScopeDescription string }

// Rules of the API model.
var (
	serverIDRule         = textRule{invalidParameter, 1, 256, regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)}
	serverNameRule       = textRule{invalidParameter, 1, 256, poolNameRule.pattern}
	scopeNameRule        = textRule{invalidParameter, 1, 256, regexp.MustCompile(`^[\x21\x23-\x2E\x30-\x5B\x5D-\x7E]+$`)}
	scopeDescriptionRule = textRule{invalidParameter, 1, 256, nil}
)

// scopes returns the custom scopes that exist in the pool, in the form that
// clients and tokens use.
func (u *userPool) scopes() map[string]bool {
	all := map[string]bool{}
	for _, rs := range u.servers {
		for _, s := range rs.scopes {
			all[rs.identifier+"/"+s.ScopeName] = true
		}
	}
	return all
}

func checkScopes(scopes []scope) *apiError {
	if len(scopes) > scopesPerServer {
		return errorf(limitExceeded, "A resource server can have at most %d scopes.", scopesPerServer)
	}
	seen := map[string]bool{}
	for _, s := range scopes {
		if err := cmp.Or(scopeNameRule.check("scopes.scopeName", s.ScopeName), scopeDescriptionRule.check("scopes.scopeDescription", s.ScopeDescription)); err != nil {
			return err
		}
		if seen[s.ScopeName] {
			return errorf(invalidParameter, "Scope %s occurs twice.", s.ScopeName)
		}
		seen[s.ScopeName] = true
	}
	return nil
}

type resourceServerView struct {
	UserPoolId, Identifier, Name string
	Scopes                       []scope `json:",omitempty"`
}

type resourceServerAnswer struct{ ResourceServer resourceServerView }

func (rs *resourceServer) view(u *userPool) resourceServerView {
	return resourceServerView{u.id, rs.identifier, rs.name, rs.scopes}
}

type resourceServerInput struct {
	UserPoolId, Identifier, Name string
	Scopes                       []scope
}

func (in *resourceServerInput) check() *apiError {
	return cmp.Or(
		serverIDRule.check("identifier", in.Identifier),
		serverNameRule.check("name", in.Name),
		checkScopes(in.Scopes),
	)
}

func (p *userPools) createResourceServer(in *resourceServerInput) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	if pool.servers[in.Identifier] != nil {
		return nil, errorf(invalidParameter, "%s already exists in user pool %s.", in.Identifier, pool.id)
	}
	if len(pool.servers) >= resourceServersPerPool {
		return nil, errorf(limitExceeded, "A user pool can have at most %d resource servers.", resourceServersPerPool)
	}
	rs := &resourceServer{seq: p.next(), identifier: in.Identifier, name: in.Name, scopes: in.Scopes}
	pool.servers[in.Identifier] = rs
	return resourceServerAnswer{rs.view(pool)}, nil
}

func (p *userPools) resourceServer(poolID, identifier string) (*userPool, *resourceServer, *apiError) {
	pool, err := p.find(poolID)
	if err != nil {
		return nil, nil, err
	}
	if err := serverIDRule.check("identifier", identifier); err != nil {
		return nil, nil, err
	}
	rs := pool.servers[identifier]
	if rs == nil {
		return nil, nil, errorf(notFound, "Resource server %s does not exist.", identifier)
	}
	return pool, rs, nil
}

type resourceServerKey struct{ UserPoolId, Identifier string }

func (p *userPools) describeResourceServer(in *resourceServerKey) (any, *apiError) {
	pool, rs, err := p.resourceServer(in.UserPoolId, in.Identifier)
	if err != nil {
		return nil, err
	}
	return resourceServerAnswer{rs.view(pool)}, nil
}

// updateResourceServer replaces the whole list of scopes. A removed scope stays
// on the clients that have it, without effect.
func (p *userPools) updateResourceServer(in *resourceServerInput) (any, *apiError) {
	pool, rs, err := p.resourceServer(in.UserPoolId, in.Identifier)
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	rs.name, rs.scopes = in.Name, in.Scopes
	return resourceServerAnswer{rs.view(pool)}, nil
}

func (p *userPools) deleteResourceServer(in *resourceServerKey) (any, *apiError) {
	pool, rs, err := p.resourceServer(in.UserPoolId, in.Identifier)
	if err != nil {
		return nil, err
	}
	delete(pool.servers, rs.identifier)
	return nil, nil
}

func (p *userPools) listResourceServers(in *struct {
	UserPoolId string
	paging
}) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	found, next, err := listed(maps.Values(pool.servers), &in.paging, 50, "ListResourceServers "+pool.id, func(rs *resourceServer) (int, resourceServerView) {
		return rs.seq, rs.view(pool)
	})
	return struct {
		ResourceServers []resourceServerView
		NextToken       *string `json:",omitempty"`
	}{found, next}, err
}
