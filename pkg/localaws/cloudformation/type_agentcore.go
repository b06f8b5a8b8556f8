package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/authorizer"
	"agentcore-mcp-auth/pkg/localaws"
)

const agentRuntime = "AWS::BedrockAgentCore::Runtime"

// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-bedrockagentcore-runtime.html
type agentRuntimeProperties struct {
	AgentRuntimeName     string `cfn:"required,replace"`
	AgentRuntimeArtifact struct {
		ContainerConfiguration struct {
			ContainerUri string `cfn:"required"`
		} `cfn:"required"`
	} `cfn:"required"`
	AuthorizerConfiguration *struct {
		CustomJWTAuthorizer struct {
			DiscoveryUrl    string `cfn:"required"`
			AllowedAudience []string
			AllowedClients  []string
			AllowedScopes   []string
		} `cfn:"required"`
	}
	Description            string
	EnvironmentVariables   map[string]string
	LifecycleConfiguration *struct{ IdleRuntimeSessionTimeout, MaxLifetime *int }
	NetworkConfiguration   struct {
		NetworkMode string `cfn:"required"`
	} `cfn:"required"`
	ProtocolConfiguration      string
	RequestHeaderConfiguration struct{ RequestHeaderAllowlist []string }
	RoleArn                    string `cfn:"required"`
	Tags                       map[string]string
}

var (
	imageURI        = regexp.MustCompile(`^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/[a-z0-9._/-]+(:[a-zA-Z0-9._-]{1,128}|@sha256:[0-9a-f]{64})$`)
	runtimeVariable = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,127}$`)
)

func (p *agentRuntimeProperties) check() error {
	if p.NetworkConfiguration.NetworkMode != "PUBLIC" {
		return errors.New("NetworkConfiguration: only NetworkMode PUBLIC is implemented")
	}
	if uri := p.AgentRuntimeArtifact.ContainerConfiguration.ContainerUri; !imageURI.MatchString(uri) {
		return fmt.Errorf("ContainerUri %.300q: want an image in ECR, with a tag or a digest", uri)
	}
	if len(p.Description) > 1200 {
		return errors.New("Description: at most 1200 characters are allowed")
	}
	lists := map[string][]string{"RequestHeaderAllowlist": p.RequestHeaderConfiguration.RequestHeaderAllowlist}
	if a := p.AuthorizerConfiguration; a != nil {
		jwt := a.CustomJWTAuthorizer
		lists["AllowedAudience"], lists["AllowedClients"], lists["AllowedScopes"] = jwt.AllowedAudience, jwt.AllowedClients, jwt.AllowedScopes
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if list := lists[name]; list != nil && len(list) == 0 {
			return fmt.Errorf("%s: expected minimum item count: 1, found: 0; leave it out with AWS::NoValue", name)
		}
	}
	if len(p.EnvironmentVariables) > 50 {
		return errors.New("EnvironmentVariables: at most 50 are allowed")
	}
	for _, name := range slices.Sorted(maps.Keys(p.EnvironmentVariables)) {
		if !runtimeVariable.MatchString(name) || len(p.EnvironmentVariables[name]) > 2048 {
			return fmt.Errorf("EnvironmentVariables: %.140q: want a letter or underscore, then letters, digits, underscores, and at most 2048 characters", name)
		}
	}
	if l := p.LifecycleConfiguration; l != nil {
		for _, n := range []*int{l.IdleRuntimeSessionTimeout, l.MaxLifetime} {
			if n != nil && (*n < 60 || *n > 28800) {
				return errors.New("LifecycleConfiguration: want 60 to 28800 seconds")
			}
		}
	}
	return nil
}

// runtime returns the front door's configuration of the runtime.
func (p *agentRuntimeProperties) runtime(addr string) localaws.Runtime {
	rt := localaws.Runtime{
		Name: p.AgentRuntimeName, Protocol: p.ProtocolConfiguration, Target: "http://" + addr, Role: p.RoleArn,
		HeaderAllowlist: p.RequestHeaderConfiguration.RequestHeaderAllowlist,
	}
	if rt.Protocol == "" {
		rt.Protocol = localaws.ProtocolHTTP // the service's default
	}
	if a := p.AuthorizerConfiguration; a != nil {
		jwt := a.CustomJWTAuthorizer
		rt.Authorizer = &authorizer.Config{
			DiscoveryURL: jwt.DiscoveryUrl, AllowedAudience: jwt.AllowedAudience, AllowedClients: jwt.AllowedClients, AllowedScopes: jwt.AllowedScopes,
		}
	}
	return rt
}

// start runs the container of a runtime at an address.
func (p *agentRuntimeProperties) start(ctx context.Context, r *request, addr string) (_ *process, err error) {
	dir, err := os.MkdirTemp(r.stack.dir, "image-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the image: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	c, err := r.aws.UnpackImage(ctx, p.AgentRuntimeArtifact.ContainerConfiguration.ContainerUri, p.RoleArn, dir)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" { // the image's program runs on Linux only
		c.Program = r.stack.code.program(filepath.Base(c.Program))
	}
	env, err := r.aws.RoleEnv(p.RoleArn, "AgentCore")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.EnvironmentVariables)) {
		env = append(env, name+"="+p.EnvironmentVariables[name])
	}
	return startProcess(ctx, addr, c, env, dir, r.stack.log)
}

func (p *agentRuntimeProperties) is(arn string, version int) made {
	id := arn[strings.LastIndex(arn, "/")+1:]
	return made{id: id, attributes: map[string]any{
		"AgentRuntimeArn": arn, "AgentRuntimeId": id, "AgentRuntimeVersion": strconv.Itoa(version), "Status": "READY",
		"LastUpdatedAt": time.Now().UTC().Format(time.RFC3339),
	}}
}

// run makes p the process of a runtime and returns the previous one.
func (s *Stack) run(id string, p *process) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.processes[id]
	s.processes[id] = p
	if p == nil {
		delete(s.processes, id)
	}
	return old
}

var agentRuntimeType = native[agentRuntimeProperties]{
	attributes: []string{"AgentRuntimeArn", "AgentRuntimeId", "AgentRuntimeVersion", "LastUpdatedAt", "Status"},
	made: func(ctx context.Context, r *request, p agentRuntimeProperties) (made, error) {
		addr, err := freeAddress()
		if err == nil {
			err = p.check()
		}
		if err != nil {
			return made{}, err
		}
		arn, err := r.aws.AddRuntime(p.runtime(addr))
		if err != nil {
			return made{}, err
		}
		process, err := p.start(ctx, r, addr)
		if err != nil {
			r.aws.RemoveRuntime(arn)
			return made{}, err
		}
		m := p.is(arn, 1)
		r.stack.run(m.id, process)
		return m, r.aws.Keep(agentRuntime, m.id)
	},
	changed: func(ctx context.Context, r *request, p, _ agentRuntimeProperties) (made, error) {
		addr, err := freeAddress()
		if err == nil {
			err = p.check()
		}
		if err != nil {
			return made{}, err
		}
		process, err := p.start(ctx, r, addr)
		if err != nil {
			return made{}, err
		}
		arn, _ := r.attributes["AgentRuntimeArn"].(string)
		if err := r.aws.UpdateRuntime(arn, p.runtime(addr)); err != nil {
			process.stop()
			return made{}, err
		}
		version, _ := strconv.Atoi(fmt.Sprint(r.attributes["AgentRuntimeVersion"]))
		m := p.is(arn, version+1)
		if old := r.stack.run(m.id, process); old != nil {
			old.stop()
		}
		return m, nil
	},
	removed: func(_ context.Context, r *request, _ agentRuntimeProperties) error {
		r.aws.RemoveRuntime(r.arn("bedrock-agentcore", "runtime/"+r.id))
		if p := r.stack.run(r.id, nil); p != nil {
			p.stop()
		}
		r.aws.Forget(agentRuntime, r.id)
		return nil
	},
}
