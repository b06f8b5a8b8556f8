package localaws

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// appClient is one app client of a pool.
type appClient struct {
	seq               int
	id, name          string
	created, modified time.Time
	clientSettings
	secrets []clientSecret // live ones, oldest first; empty: a public client
}

// clientSettings are the settings of an app client that the stand-in implements.
type clientSettings struct {
	AccessTokenValidity             *int32              `json:",omitempty"`
	IdTokenValidity                 *int32              `json:",omitempty"`
	RefreshTokenValidity            int32               `json:",omitempty"`
	TokenValidityUnits              *tokenValidityUnits `json:",omitempty"`
	ExplicitAuthFlows               []string            `json:",omitempty"`
	SupportedIdentityProviders      []string            `json:",omitempty"`
	AllowedOAuthFlows               []string            `json:",omitempty"`
	AllowedOAuthScopes              []string            `json:",omitempty"`
	AllowedOAuthFlowsUserPoolClient bool
	PreventUserExistenceErrors      string `json:",omitempty"`
	EnableTokenRevocation           *bool  `json:",omitempty"`
	AuthSessionValidity             *int32 `json:",omitempty"`
}

type tokenValidityUnits struct {
	AccessToken  string `json:",omitempty"`
	IdToken      string `json:",omitempty"`
	RefreshToken string `json:",omitempty"`
}

// Rules of the API model.
var (
	clientIDRule   = textRule{invalidParameter, 1, 128, regexp.MustCompile(`^[\w+]+$`)}
	clientNameRule = textRule{invalidParameter, 1, 128, poolNameRule.pattern}
	scopeRule      = textRule{invalidParameter, 1, 256, serverIDRule.pattern}
)

// standardScopes are for users and never granted to machines.
var standardScopes = []string{"phone", "email", "openid", "profile", "aws.cognito.signin.user.admin"}

// secondsIn are the units of a validity.
var secondsIn = map[string]int64{"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}

// lifetime returns a validity in seconds. unit may be empty.
func lifetime(validity int32, unit, defaultUnit string) int64 {
	if unit == "" {
		unit = defaultUnit
	}
	return int64(validity) * secondsIn[unit]
}

// accessLifetime returns the lifetime of the client's access tokens.
func (s *clientSettings) accessLifetime() time.Duration {
	if s.AccessTokenValidity == nil {
		return time.Hour
	}
	return time.Duration(lifetime(*s.AccessTokenValidity, s.TokenValidityUnits.AccessToken, "hours")) * time.Second
}

// idLifetime returns the lifetime of the client's id tokens.
func (s *clientSettings) idLifetime() time.Duration {
	if s.IdTokenValidity == nil {
		return time.Hour
	}
	return time.Duration(lifetime(*s.IdTokenValidity, s.TokenValidityUnits.IdToken, "hours")) * time.Second
}

// check refuses what the service would, and fills in the defaults. hasSecret
// says whether the client has or gets a secret; scopes are those that exist.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_CreateUserPoolClient.html
func (s *clientSettings) check(hasSecret bool, scopes map[string]bool) *apiError {
	if s.TokenValidityUnits == nil {
		s.TokenValidityUnits = &tokenValidityUnits{}
	}
	if err := s.checkEnums(); err != nil {
		return err
	}
	if s.RefreshTokenValidity == 0 { // 30 days
		s.RefreshTokenValidity = int32(30 * secondsIn["days"] / lifetime(1, s.TokenValidityUnits.RefreshToken, "days"))
	}
	if s.EnableTokenRevocation == nil {
		s.EnableTokenRevocation = new(true)
	}
	if s.AuthSessionValidity == nil {
		s.AuthSessionValidity = new(int32(3))
	}
	return cmp.Or(s.checkLifetimes(), s.checkOAuth(hasSecret, scopes))
}

func (s *clientSettings) checkEnums() *apiError {
	for _, unit := range []string{s.TokenValidityUnits.AccessToken, s.TokenValidityUnits.IdToken, s.TokenValidityUnits.RefreshToken} {
		if err := checkEnum(invalidParameter, "tokenValidityUnits", unit, "seconds", "minutes", "hours", "days"); err != nil {
			return err
		}
	}
	legacy, modern := false, false
	for _, flow := range s.ExplicitAuthFlows {
		if err := checkEnum(invalidParameter, "explicitAuthFlows", flow,
			"ADMIN_NO_SRP_AUTH", "CUSTOM_AUTH_FLOW_ONLY", "USER_PASSWORD_AUTH", "ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_CUSTOM_AUTH",
			"ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_AUTH"); err != nil {
			return err
		}
		if strings.HasPrefix(flow, "ALLOW_") {
			modern = true
		} else {
			legacy = true
		}
	}
	if legacy && modern {
		return errorf(invalidParameter, "ExplicitAuthFlows: values with and without the prefix ALLOW_ cannot be mixed.")
	}
	for _, provider := range s.SupportedIdentityProviders {
		if provider != "COGNITO" {
			return errorf(invalidParameter, "The provider %s does not exist for this user pool.", provider)
		}
	}
	return cmp.Or(
		checkEnum(invalidParameter, "preventUserExistenceErrors", s.PreventUserExistenceErrors, "LEGACY", "ENABLED"),
		checkRange(invalidParameter, "authSessionValidity", s.AuthSessionValidity, 3, 15),
	)
}

// checkLifetimes refuses lifetimes of less than 5 minutes or more than a day,
// and for refresh tokens less than an hour or more than ten years.
func (s *clientSettings) checkLifetimes() *apiError {
	const day = 86400
	within := func(member string, seconds, min, max int64) *apiError {
		if seconds < min || seconds > max {
			return errorf(invalidParameter, "Invalid range for token validity: %s must be between %d and %d seconds.", member, min, max)
		}
		return nil
	}
	if err := cmp.Or(
		checkRange(invalidParameter, "accessTokenValidity", s.AccessTokenValidity, 1, day),
		checkRange(invalidParameter, "idTokenValidity", s.IdTokenValidity, 1, day),
		within("RefreshTokenValidity", lifetime(s.RefreshTokenValidity, s.TokenValidityUnits.RefreshToken, "days"), 3600, 3650*day),
	); err != nil {
		return err
	}
	if s.AccessTokenValidity != nil {
		if err := within("AccessTokenValidity", lifetime(*s.AccessTokenValidity, s.TokenValidityUnits.AccessToken, "hours"), 300, day); err != nil {
			return err
		}
	}
	if s.IdTokenValidity != nil {
		return within("IdTokenValidity", lifetime(*s.IdTokenValidity, s.TokenValidityUnits.IdToken, "hours"), 300, day)
	}
	return nil
}

func (s *clientSettings) checkOAuth(hasSecret bool, scopes map[string]bool) *apiError {
	for _, flow := range s.AllowedOAuthFlows {
		if err := checkEnum(invalidParameter, "allowedOAuthFlows", flow, "code", "implicit", "client_credentials"); err != nil {
			return err
		}
	}
	if len(s.AllowedOAuthFlows) > 3 {
		return errorf(invalidParameter, "1 validation error detected: Value at 'allowedOAuthFlows' failed to satisfy constraint: Member must have length less than or equal to 3")
	}
	if len(s.AllowedOAuthScopes) > scopesPerClient {
		return errorf(limitExceeded, "An app client can have at most %d scopes.", scopesPerClient)
	}
	machine := slices.Contains(s.AllowedOAuthFlows, "client_credentials")
	switch {
	// The service accepts flows and scopes without this member, and then answers
	// every token request with invalid_grant (boto/boto3 #3916).
	case !s.AllowedOAuthFlowsUserPoolClient && len(s.AllowedOAuthFlows)+len(s.AllowedOAuthScopes) > 0:
		return errorf(invalidParameter, "AllowedOAuthFlows and AllowedOAuthScopes need AllowedOAuthFlowsUserPoolClient to be true.")
	case s.AllowedOAuthFlowsUserPoolClient && (len(s.AllowedOAuthFlows) == 0 || len(s.AllowedOAuthScopes) == 0):
		return errorf(invalidParameter, "AllowedOAuthFlows and AllowedOAuthScopes are required if user pool client is allowed to use OAuth flows.")
	case machine && slices.ContainsFunc(s.AllowedOAuthFlows, func(f string) bool { return f != "client_credentials" }):
		return errorf("InvalidOAuthFlowException", "client_credentials flow can not be selected along with code flow or implicit flow.")
	case machine && !hasSecret:
		return errorf("InvalidOAuthFlowException", "client_credentials flow can not be selected if client does not have a client secret.")
	case !machine && len(s.AllowedOAuthFlows) > 0:
		return unimplemented("AllowedOAuthFlows other than client_credentials")
	}
	for i, name := range s.AllowedOAuthScopes {
		switch {
		case scopeRule.check("allowedOAuthScopes", name) != nil:
			return scopeRule.check("allowedOAuthScopes", name)
		case slices.Contains(s.AllowedOAuthScopes[:i], name):
			return errorf(invalidParameter, "Scope %s occurs twice.", name)
		case slices.Contains(standardScopes, name):
			return errorf("InvalidOAuthFlowException", "%s is not supported with client_credentials flow", name)
		case !scopes[name]:
			return errorf("ScopeDoesNotExistException", "Invalid scope requested: %s", name)
		}
	}
	return nil
}

// clientView is an app client as the API answers it.
type clientView struct {
	UserPoolId, ClientId, ClientName string
	ClientSecret                     string `json:",omitempty"`
	CreationDate, LastModifiedDate   epoch
	clientSettings
}

type clientAnswer struct{ UserPoolClient clientView }

// view returns a client as the API shows it. It shows the secret that the client
// was made with, for as long as that one is live. What the service shows after
// it was rotated away is not documented.
func (c *appClient) view(pool *userPool) clientAnswer {
	v := clientView{
		UserPoolId: pool.id, ClientId: c.id, ClientName: c.name,
		CreationDate: epoch(c.created), LastModifiedDate: epoch(c.modified), clientSettings: c.clientSettings,
	}
	if len(c.secrets) > 0 && c.secrets[0].original {
		v.ClientSecret = c.secrets[0].value
	}
	return clientAnswer{v}
}

func (p *userPools) createClient(in *struct {
	UserPoolId, ClientName string
	GenerateSecret         bool
	ClientSecret           *string
	clientSettings
}) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(clientNameRule.check("clientName", in.ClientName), secretRule.checkOptional("clientSecret", in.ClientSecret)); err != nil {
		return nil, err
	}
	if in.GenerateSecret && in.ClientSecret != nil {
		return nil, errorf(invalidParameter, "ClientSecret cannot be provided when GenerateSecret is true.")
	}
	if err := in.clientSettings.check(in.GenerateSecret || in.ClientSecret != nil, pool.scopes()); err != nil {
		return nil, err
	}
	if len(pool.clients) >= clientsPerPool {
		return nil, errorf(limitExceeded, "A user pool can have at most %d app clients.", clientsPerPool)
	}
	now := p.s.cfg.Now()
	c := &appClient{
		seq: p.next(), id: randomText(26, lower+digits), name: in.ClientName,
		created: now, modified: now, clientSettings: in.clientSettings,
	}
	switch {
	case in.ClientSecret != nil:
		c.addSecret(*in.ClientSecret, now).original = true
	case in.GenerateSecret:
		c.addSecret(newSecret(), now).original = true
	}
	pool.clients[c.id] = c
	p.warm(pool)
	return c.view(pool), nil
}

// warm makes the key of a new pool in advance, so that the first token need not
// wait for it.
func (p *userPools) warm(pool *userPool) {
	time.AfterFunc(time.Second, func() {
		p.mu.Lock()
		there, key := p.pools[pool.id] == pool, pool.signer()
		p.mu.Unlock()
		if there {
			key()
		}
	})
}

// client finds a client of a pool.
func (p *userPools) client(poolID, clientID string) (*userPool, *appClient, *apiError) {
	pool, err := p.find(poolID)
	if err != nil {
		return nil, nil, err
	}
	if err := clientIDRule.check("clientId", clientID); err != nil {
		return nil, nil, err
	}
	c := pool.clients[clientID]
	if c == nil {
		return nil, nil, errorf(notFound, "User pool client %s does not exist.", clientID)
	}
	return pool, c, nil
}

type clientKey struct{ UserPoolId, ClientId string }

func (p *userPools) describeClient(in *clientKey) (any, *apiError) {
	pool, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	return c.view(pool), nil
}

// updateClient replaces every setting, and omitted ones by their defaults, as
// the UpdateUserPoolClient page warns. Only an omitted name stays.
func (p *userPools) updateClient(in *struct {
	clientKey
	ClientName *string
	clientSettings
}) (any, *apiError) {
	pool, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(clientNameRule.checkOptional("clientName", in.ClientName), in.clientSettings.check(len(c.secrets) > 0, pool.scopes())); err != nil {
		return nil, err
	}
	if in.ClientName != nil {
		c.name = *in.ClientName
	}
	c.clientSettings, c.modified = in.clientSettings, p.s.cfg.Now()
	return c.view(pool), nil
}

func (p *userPools) deleteClient(in *clientKey) (any, *apiError) {
	pool, c, err := p.client(in.UserPoolId, in.ClientId)
	if err != nil {
		return nil, err
	}
	delete(pool.clients, c.id)
	return nil, nil
}

type clientDescription struct{ UserPoolId, ClientId, ClientName string }

func (p *userPools) listClients(in *struct {
	UserPoolId string
	paging
}) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	found, next, err := listed(maps.Values(pool.clients), &in.paging, 60, "ListUserPoolClients "+pool.id, func(c *appClient) (int, clientDescription) {
		return c.seq, clientDescription{pool.id, c.id, c.name}
	})
	return struct {
		UserPoolClients []clientDescription
		NextToken       *string `json:",omitempty"`
	}{found, next}, err
}
