package localaws

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"iter"
	"maps"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// userPools stands in for Cognito user pools: the administration API here and
// in the cognito_ files, discovery in oidc.go and the token endpoint in
// token.go.
type userPools struct {
	s   *Server
	ops map[string]operation

	mu      sync.Mutex           // guards what follows and everything reachable from it
	made    int                  // objects made so far; lists are in this order
	pools   map[string]*userPool // by id
	domains map[string]*userPool // by prefix; nil: owned by another account
	life    time.Duration        // of machine tokens; 0: the client's setting
}

// userPool is one pool with its contents.
type userPool struct {
	seq               int
	id, name          string
	created, modified time.Time
	poolSettings
	tags    map[string]string
	domain  string                     // prefix; empty: none
	servers map[string]*resourceServer // by identifier
	clients map[string]*appClient      // by id
	users   map[string]*user           // by name
	keys    []func() *signingKey       // of access tokens; the last one signs
	idKeyID string                     // of the key that signs id tokens
}

func newUserPools(s *Server) *userPools {
	p := &userPools{s: s, pools: map[string]*userPool{}, domains: map[string]*userPool{}}
	mu := &p.mu
	p.ops = map[string]operation{
		"CreateUserPool":      op(mu, p.createPool),
		"DescribeUserPool":    op(mu, p.describePool),
		"UpdateUserPool":      op(mu, p.updatePool),
		"DeleteUserPool":      op(mu, p.deletePool),
		"ListUserPools":       op(mu, p.listPools),
		"TagResource":         op(mu, p.tagPool),
		"UntagResource":       op(mu, p.untagPool),
		"ListTagsForResource": op(mu, p.listPoolTags),

		"CreateUserPoolDomain":   op(mu, p.createDomain),
		"DescribeUserPoolDomain": op(mu, p.describeDomain),
		"DeleteUserPoolDomain":   op(mu, p.deleteDomain),

		"CreateResourceServer":   op(mu, p.createResourceServer),
		"DescribeResourceServer": op(mu, p.describeResourceServer),
		"UpdateResourceServer":   op(mu, p.updateResourceServer),
		"DeleteResourceServer":   op(mu, p.deleteResourceServer),
		"ListResourceServers":    op(mu, p.listResourceServers),

		"CreateUserPoolClient":       op(mu, p.createClient),
		"DescribeUserPoolClient":     op(mu, p.describeClient),
		"UpdateUserPoolClient":       op(mu, p.updateClient),
		"DeleteUserPoolClient":       op(mu, p.deleteClient),
		"ListUserPoolClients":        op(mu, p.listClients),
		"AddUserPoolClientSecret":    op(mu, p.addSecret),
		"ListUserPoolClientSecrets":  op(mu, p.listSecrets),
		"DeleteUserPoolClientSecret": op(mu, p.deleteSecret),

		"AdminCreateUser":      op(mu, p.adminCreateUser),
		"AdminSetUserPassword": op(mu, p.adminSetUserPassword),
		"AdminGetUser":         op(mu, p.adminGetUser),
		"AdminDeleteUser":      op(mu, p.adminDeleteUser),
		"InitiateAuth":         p.initiateAuth,
	}
	return p
}

// unsigned are the operations that need no AWS credentials.
var unsigned = map[string]bool{"InitiateAuth": true}

func (p *userPools) serve(w http.ResponseWriter, r *http.Request, rec *Record) {
	if unsigned[rec.Operation] {
		serveJSON(w, r, rec, p.ops)
		return
	}
	p.s.serveSigned(w, r, rec, "cognito-idp", p.ops, p.needs)
}

// Exception types of the API model that occur in more than one place.
const (
	invalidParameter = "InvalidParameterException"
	notFound         = "ResourceNotFoundException"
	limitExceeded    = "LimitExceededException"
)

// Quotas; beyond them the API answers LimitExceededException.
// https://docs.aws.amazon.com/cognito/latest/developerguide/quotas.html
const (
	poolsPerRegion         = 1000
	clientsPerPool         = 1000
	resourceServersPerPool = 25
	scopesPerServer        = 100
	scopesPerClient        = 50
)

// Rules of the API model.
var (
	poolIDRule   = textRule{invalidParameter, 1, 55, regexp.MustCompile(`^[\w-]+_[0-9a-zA-Z]+$`)}
	poolNameRule = textRule{invalidParameter, 1, 128, regexp.MustCompile(`^[\w\s+=,.@-]+$`)}
	poolTagKey   = textRule{invalidParameter, 1, 128, nil}
	poolTagValue = textRule{invalidParameter, 0, 256, nil}
)

// poolSettings are the members that CreateUserPool and UpdateUserPool share and
// the stand-in implements.
type poolSettings struct {
	DeletionProtection    string                 `json:",omitempty"`
	MfaConfiguration      string                 `json:",omitempty"`
	UserPoolTier          string                 `json:",omitempty"`
	Policies              *poolPolicies          `json:",omitempty"`
	AdminCreateUserConfig *adminCreateUserConfig `json:",omitempty"`
}

type poolPolicies struct {
	PasswordPolicy *passwordPolicy `json:",omitempty"`
}

type adminCreateUserConfig struct{ AllowAdminCreateUserOnly bool }

// check refuses what the API model does not allow, and fills in the defaults.
func (s *poolSettings) check() *apiError {
	if err := cmp.Or(
		checkEnum(invalidParameter, "deletionProtection", s.DeletionProtection, "ACTIVE", "INACTIVE"),
		checkEnum(invalidParameter, "mfaConfiguration", s.MfaConfiguration, "OFF", "ON", "OPTIONAL"),
		checkEnum(invalidParameter, "userPoolTier", s.UserPoolTier, "LITE", "ESSENTIALS", "PLUS"),
	); err != nil {
		return err
	}
	if s.MfaConfiguration == "ON" || s.MfaConfiguration == "OPTIONAL" {
		return unimplemented("MfaConfiguration %s", s.MfaConfiguration)
	}
	s.DeletionProtection = cmp.Or(s.DeletionProtection, "INACTIVE")
	s.MfaConfiguration = cmp.Or(s.MfaConfiguration, "OFF")
	s.UserPoolTier = cmp.Or(s.UserPoolTier, "ESSENTIALS")
	if s.AdminCreateUserConfig == nil {
		s.AdminCreateUserConfig = &adminCreateUserConfig{}
	}
	if s.Policies == nil || s.Policies.PasswordPolicy == nil {
		s.Policies = &poolPolicies{PasswordPolicy: &passwordPolicy{
			MinimumLength: 8, RequireUppercase: true, RequireLowercase: true, RequireNumbers: true, RequireSymbols: true,
		}}
	}
	return s.Policies.PasswordPolicy.check()
}

// find returns a pool by its id.
func (p *userPools) find(id string) (*userPool, *apiError) {
	if err := poolIDRule.check("userPoolId", id); err != nil {
		return nil, err
	}
	pool := p.pools[id]
	if pool == nil {
		return nil, errorf(notFound, "User pool %s does not exist.", id)
	}
	return pool, nil
}

func (p *userPools) next() int {
	p.made++
	return p.made
}

func (p *userPools) arn(id string) string {
	return "arn:aws:cognito-idp:" + p.s.cfg.Region + ":" + Account + ":userpool/" + id
}

// poolView is a pool as the API answers it.
type poolView struct {
	Id, Name, Arn                  string
	CreationDate, LastModifiedDate epoch
	Domain                         string            `json:",omitempty"`
	UserPoolTags                   map[string]string `json:",omitempty"`
	EstimatedNumberOfUsers         int
	poolSettings
}

type poolAnswer struct{ UserPool poolView }

func (p *userPools) view(pool *userPool) poolAnswer {
	return poolAnswer{poolView{
		Id: pool.id, Name: pool.name, Arn: p.arn(pool.id),
		CreationDate: epoch(pool.created), LastModifiedDate: epoch(pool.modified),
		Domain: pool.domain, UserPoolTags: maps.Clone(pool.tags), EstimatedNumberOfUsers: len(pool.users),
		poolSettings: pool.poolSettings,
	}}
}

func (p *userPools) createPool(in *struct {
	PoolName     string
	UserPoolTags map[string]string
	poolSettings
}) (any, *apiError) {
	if err := cmp.Or(poolNameRule.check("poolName", in.PoolName), checkPoolTags(in.UserPoolTags), in.poolSettings.check()); err != nil {
		return nil, err
	}
	if len(p.pools) >= poolsPerRegion {
		return nil, errorf(limitExceeded, "The limit of %d user pools is reached.", poolsPerRegion)
	}
	now := p.s.cfg.Now()
	pool := &userPool{
		seq: p.next(), id: p.s.cfg.Region + "_" + randomText(9, upper+lower+digits), name: in.PoolName, created: now, modified: now,
		poolSettings: in.poolSettings, tags: maps.Clone(in.UserPoolTags),
		servers: map[string]*resourceServer{}, clients: map[string]*appClient{}, users: map[string]*user{},
		keys: []func() *signingKey{newSigningKey()}, idKeyID: newKeyID(),
	}
	if pool.tags == nil {
		pool.tags = map[string]string{}
	}
	p.pools[pool.id] = pool
	return p.view(pool), nil
}

func (p *userPools) describePool(in *struct{ UserPoolId string }) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	return p.view(pool), nil
}

// updatePool replaces every setting, and omitted ones by their defaults, as the
// UpdateUserPool page warns. Only an omitted name stays.
func (p *userPools) updatePool(in *struct {
	UserPoolId   string
	PoolName     *string
	UserPoolTags map[string]string
	poolSettings
}) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(poolNameRule.checkOptional("poolName", in.PoolName), checkPoolTags(in.UserPoolTags), in.poolSettings.check()); err != nil {
		return nil, err
	}
	if in.PoolName != nil {
		pool.name = *in.PoolName
	}
	pool.poolSettings = in.poolSettings
	pool.tags = maps.Clone(in.UserPoolTags)
	if pool.tags == nil {
		pool.tags = map[string]string{}
	}
	pool.modified = p.s.cfg.Now()
	return nil, nil
}

func (p *userPools) deletePool(in *struct{ UserPoolId string }) (any, *apiError) {
	pool, err := p.find(in.UserPoolId)
	if err != nil {
		return nil, err
	}
	switch {
	case pool.DeletionProtection == "ACTIVE":
		return nil, errorf(invalidParameter, "The user pool cannot be deleted because deletion protection is activated. Deletion protection must be inactivated first.")
	case pool.domain != "":
		return nil, errorf(invalidParameter, "User pool cannot be deleted. It has a domain configured that should be deleted first.")
	}
	delete(p.pools, pool.id)
	return nil, nil
}

// poolDescription is a pool as ListUserPools answers it: without its tags.
type poolDescription struct {
	Id, Name                       string
	CreationDate, LastModifiedDate epoch
}

func (p *userPools) listPools(in *paging) (any, *apiError) {
	if in.MaxResults == nil {
		return nil, errorf(invalidParameter, "1 validation error detected: Value at 'maxResults' failed to satisfy constraint: Member must not be null")
	}
	found, next, err := listed(maps.Values(p.pools), in, 60, "ListUserPools", func(u *userPool) (int, poolDescription) {
		return u.seq, poolDescription{u.id, u.name, epoch(u.created), epoch(u.modified)}
	})
	return struct {
		UserPools []poolDescription
		NextToken *string `json:",omitempty"`
	}{found, next}, err
}

// paging are the members that every list operation has.
type paging struct {
	MaxResults *int32
	NextToken  *string
}

// listed returns one page of all, of at most most items, in the order in which
// they were made. show returns an item's place in that order and its view.
func listed[T, V any](all iter.Seq[T], in *paging, most int32, scope string, show func(T) (seq int, view V)) ([]V, *string, *apiError) {
	if err := checkRange(invalidParameter, "maxResults", in.MaxResults, 1, most); err != nil {
		return nil, nil, err
	}
	key := func(item T) string {
		seq, _ := show(item)
		return fmt.Sprintf("%012d", seq) // sorts like the number
	}
	items := slices.SortedFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	items, next, ok := page(items, key, scope, in.NextToken, limit(in.MaxResults, int(most)))
	if !ok {
		return nil, nil, errorf(invalidParameter, "Invalid pagination token.")
	}
	views := []V{}
	for _, item := range items {
		_, view := show(item)
		views = append(views, view)
	}
	return views, next, nil
}

func checkPoolTags(tags map[string]string) *apiError {
	if len(tags) > tagsPerResource {
		return errorf(invalidParameter, "A resource can have at most %d tags.", tagsPerResource)
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if strings.HasPrefix(strings.ToLower(k), "aws:") {
			return errorf(invalidParameter, "Tag keys that begin with aws: are reserved.")
		}
		if err := cmp.Or(poolTagKey.check("tags.key", k), poolTagValue.check("tags.value", tags[k])); err != nil {
			return err
		}
	}
	return nil
}

// byARN finds the pool that a tag operation names.
func (p *userPools) byARN(arn string) (*userPool, *apiError) {
	id, ok := strings.CutPrefix(arn, p.arn(""))
	if !ok {
		return nil, errorf(invalidParameter, "resourceArn is not the ARN of a user pool of this account and region.")
	}
	return p.find(id)
}

func (p *userPools) tagPool(in *struct {
	ResourceArn string
	Tags        map[string]string
}) (any, *apiError) {
	pool, err := p.byARN(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if in.Tags == nil {
		return nil, errorf(invalidParameter, "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must not be null")
	}
	tags := maps.Clone(pool.tags)
	maps.Copy(tags, in.Tags)
	if err := checkPoolTags(tags); err != nil {
		return nil, err
	}
	pool.tags = tags
	return nil, nil
}

func (p *userPools) untagPool(in *struct {
	ResourceArn string
	TagKeys     []string
}) (any, *apiError) {
	pool, err := p.byARN(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if in.TagKeys == nil {
		return nil, errorf(invalidParameter, "1 validation error detected: Value at 'tagKeys' failed to satisfy constraint: Member must not be null")
	}
	for _, k := range in.TagKeys {
		if err := poolTagKey.check("tagKeys", k); err != nil {
			return nil, err
		}
	}
	for _, k := range in.TagKeys {
		delete(pool.tags, k)
	}
	return nil, nil
}

func (p *userPools) listPoolTags(in *struct{ ResourceArn string }) (any, *apiError) {
	pool, err := p.byARN(in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return struct{ Tags map[string]string }{maps.Clone(pool.tags)}, nil
}

const (
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// randomText returns n unpredictable characters of alphabet.
func randomText(n int, alphabet string) string {
	size := big.NewInt(int64(len(alphabet)))
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, size)
		if err != nil {
			panic(err) // crypto/rand does not fail on any system that Go supports
		}
		out[i] = alphabet[k.Int64()]
	}
	return string(out)
}
