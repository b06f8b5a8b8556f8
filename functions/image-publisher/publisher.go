package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"agentcore-mcp-auth/pkg/customresource"
	"agentcore-mcp-auth/pkg/image"
)

// resourceType is the CloudFormation type that the function serves.
const resourceType = "Custom::MCPImage"

// programs are the programs that the function carries, and how AgentCore starts
// each.
var programs = map[string]image.Config{
	// The Host header that the platform sends is not documented, so any is
	// admitted; the platform's authorizer is in front.
	"mcp-server": {Name: "mcp-server", Port: 8000, Env: map[string]string{"MCP_ALLOWED_HOSTS": "*"}},
	"agent":      {Name: "agent", Port: 8080},
}

// publisher serves Custom::MCPImage.
type publisher struct {
	ecr     *ecr.Client
	region  string
	archive string // path of the archive of programs
	local   bool   // the registry may be on a loopback address
	log     *slog.Logger
}

// properties are the resource's properties. Version is not read: its change is
// what makes CloudFormation send an update when the program may have changed.
type properties struct {
	repository *repository
	binary     string
}

// handle puts the program's image into the repository and answers with its URI.
// The physical id consists of repository and program, so a change of either
// replaces the resource. Delete does nothing: a runtime pulls its image again
// for each session, so images go with the repository or by its lifecycle policy.
func (p *publisher) handle(ctx context.Context, e cfn.Event) (physicalID string, data map[string]any, err error) {
	if e.ResourceType != resourceType {
		return e.PhysicalResourceID, nil, fmt.Errorf("resource type %.60q: this function serves %s", e.ResourceType, resourceType)
	}
	if e.RequestType == cfn.RequestDelete {
		return e.PhysicalResourceID, nil, nil
	}
	want, err := p.decode(e)
	if err != nil {
		return e.PhysicalResourceID, nil, err
	}
	uri, digest, err := p.publish(ctx, want)
	if err != nil {
		return e.PhysicalResourceID, nil, err
	}
	p.log.Info("image published", "request_id", e.RequestID, "logical_id", e.LogicalResourceID, "uri", uri)
	return "mcp-image:" + want.repository.uri + ":" + want.binary, map[string]any{"ImageUri": uri, "Digest": digest}, nil
}

// decode reads the properties and refuses wrong ones by name.
func (p *publisher) decode(e cfn.Event) (properties, error) {
	var got properties
	raw := e.ResourceProperties
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if !slices.Contains([]string{"ServiceToken", "ServiceTimeout", "RepositoryUri", "Binary", "Version"}, name) {
			return got, fmt.Errorf("property %.80q is unknown; remove it", name)
		}
		if _, ok := raw[name].(string); !ok {
			return got, fmt.Errorf("property %s: want a string", name)
		}
	}
	text := func(name string) string { s, _ := raw[name].(string); return s }
	got.binary = text("Binary")
	if _, ok := programs[got.binary]; !ok {
		return got, fmt.Errorf("property Binary: %.80q is none of %s", got.binary, strings.Join(slices.Sorted(maps.Keys(programs)), ", "))
	}
	var err error
	if got.repository, err = parseRepository(text("RepositoryUri")); err != nil {
		return got, fmt.Errorf("property RepositoryUri: %w", err)
	}
	if got.repository.region != p.region {
		return got, fmt.Errorf("property RepositoryUri: the repository is in %s, this function in %s; use one in its region", got.repository.region, p.region)
	}
	if stack := strings.Split(e.StackID, ":"); len(stack) < 5 || stack[4] != got.repository.account {
		return got, fmt.Errorf("property RepositoryUri: the repository is in account %s and the stack is %s; use a repository of the stack's account", got.repository.account, e.StackID)
	}
	return got, nil
}

// repository is a repository of ECR.
type repository struct{ uri, host, account, region string }

// repositoryURI is the form of repository URIs in every partition.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
var repositoryURI = regexp.MustCompile(`^((\d{12})\.dkr\.ecr(?:-fips)?\.([a-z]{2,4}(?:-[a-z]+)+-\d)\.(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov))/[a-z0-9]+(?:[._/-][a-z0-9]+)*$`)

func parseRepository(uri string) (*repository, error) {
	m := repositoryURI.FindStringSubmatch(uri)
	if m == nil {
		return nil, fmt.Errorf("%.200q is not ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME; use a repository's RepositoryUri attribute", uri)
	}
	return &repository{uri: uri, host: m[1], account: m[2], region: m[3]}, nil
}

func (p *publisher) publish(ctx context.Context, want properties) (uri, digest string, err error) {
	binary, err := program(p.archive, want.binary)
	if err != nil {
		return "", "", err
	}
	c := programs[want.binary]
	c.Labels = map[string]string{"org.opencontainers.image.title": want.binary, "org.opencontainers.image.licenses": "MIT"}
	img, err := image.New(binary, c)
	if err != nil {
		return "", "", err
	}
	if digest, err = img.Digest(); err != nil {
		return "", "", err
	}
	to, err := p.logIn(ctx, want.repository)
	if err != nil {
		return "", "", err
	}
	if uri, err = img.Push(ctx, to); err != nil {
		return "", "", err
	}
	return uri, digest, nil
}

// logIn gets a token for the account's registry. It checks that this is the
// repository's registry, because the token must go nowhere else.
func (p *publisher) logIn(ctx context.Context, r *repository) (image.Target, error) {
	out, err := p.ecr.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return image.Target{}, fmt.Errorf("logging in to ECR: %w", err)
	}
	if len(out.AuthorizationData) != 1 {
		return image.Target{}, fmt.Errorf("logging in to ECR: %d registries answered, want one", len(out.AuthorizationData))
	}
	data := out.AuthorizationData[0]
	plain, err := base64.StdEncoding.DecodeString(aws.ToString(data.AuthorizationToken))
	username, password, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		return image.Target{}, errors.New("logging in to ECR: the token is not of the form user:password")
	}
	endpoint, err := url.Parse(aws.ToString(data.ProxyEndpoint))
	if err != nil {
		return image.Target{}, errors.New("logging in to ECR: the registry's address is not a URL")
	}
	to := image.Target{Repository: r.uri, Username: username, Password: password}
	switch {
	case endpoint.Scheme == "https" && sameRegistry(endpoint.Host, r.host):
		return to, nil
	case p.local && customresource.OnThisMachine(endpoint.String()):
		to.Transport = elsewhere{host: r.host, endpoint: endpoint}
		return to, nil
	}
	return image.Target{}, fmt.Errorf("property RepositoryUri: the repository is in the registry %s, this account's is %s; use a repository of this account", r.host, endpoint.Host)
}

// sameRegistry compares registries. Each has a second name, for FIPS.
func sameRegistry(a, b string) bool {
	return strings.Replace(a, ".ecr-fips.", ".ecr.", 1) == strings.Replace(b, ".ecr-fips.", ".ecr.", 1)
}

// elsewhere sends requests for the registry's host to its proxyEndpoint. The two
// differ only in local runs.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_AuthorizationData.html
type elsewhere struct {
	host     string
	endpoint *url.URL
}

func (t elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != t.host {
		return nil, fmt.Errorf("refusing a request for %s: the registry is %s", r.URL.Host, t.host)
	}
	there := r.Clone(r.Context())
	there.URL.Scheme, there.URL.Host, there.Host = t.endpoint.Scheme, t.endpoint.Host, t.endpoint.Host
	resp, err := http.DefaultTransport.RoundTrip(there)
	if err != nil {
		return nil, err
	}
	resp.Request = r // relative locations resolve against the registry's own host
	return resp, nil
}
