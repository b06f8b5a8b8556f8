package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

type tag struct {
	Key   string `cfn:"required"`
	Value string `cfn:"required"`
}

type functionProperties struct {
	FunctionName string `cfn:"replace"`
	Code         struct {
		S3Bucket string `cfn:"required"`
		S3Key    string `cfn:"required"`
	} `cfn:"required"`
	Role          string `cfn:"required"`
	Handler       string `cfn:"required"`
	Runtime       string `cfn:"required"`
	Description   string
	Architectures []string
	MemorySize    int
	Timeout       int
	Environment   struct{ Variables map[string]string }

	ReservedConcurrentExecutions *int
	TracingConfig                *struct{ Mode string }
	DeadLetterConfig             *struct{ TargetArn string }
	LoggingConfig                *struct{ LogFormat, LogGroup, ApplicationLogLevel, SystemLogLevel string }
	Tags                         []tag
}

// config returns the stand-in's configuration of a function.
func (p *functionProperties) config(r *request, name string) (localaws.FunctionConfig, error) {
	switch {
	case p.Runtime != "provided.al2023" || p.Handler != "bootstrap":
		return localaws.FunctionConfig{}, fmt.Errorf("Runtime %s, Handler %s: only provided.al2023 with bootstrap is implemented", p.Runtime, p.Handler)
	case len(p.Architectures) > 1 || len(p.Architectures) == 1 && !slices.Contains([]string{"arm64", "x86_64"}, p.Architectures[0]):
		return localaws.FunctionConfig{}, errors.New("Architectures: want arm64 or x86_64")
	case len(p.Description) > 256:
		return localaws.FunctionConfig{}, errors.New("Description: at most 256 characters are allowed")
	case p.ReservedConcurrentExecutions != nil && *p.ReservedConcurrentExecutions < 1:
		return localaws.FunctionConfig{}, errors.New("ReservedConcurrentExecutions: want 1 or more; a function that takes no invocations, which is what 0 makes, is not implemented")
	case p.TracingConfig != nil && p.TracingConfig.Mode != "Active" && p.TracingConfig.Mode != "PassThrough":
		return localaws.FunctionConfig{}, errors.New("TracingConfig: want Active or PassThrough")
	}
	if err := p.checkLogging(); err != nil {
		return localaws.FunctionConfig{}, err
	}
	if p.DeadLetterConfig != nil {
		if err := r.destination(p.DeadLetterConfig.TargetArn); err != nil {
			return localaws.FunctionConfig{}, fmt.Errorf("DeadLetterConfig: %w", err)
		}
		action, words := "sqs:SendMessage", "SendMessage on SQS"
		if strings.Contains(p.DeadLetterConfig.TargetArn, ":sns:") {
			action, words = "sns:Publish", "Publish on SNS"
		}
		if !r.aws.Allowed(p.Role, action, p.DeadLetterConfig.TargetArn, nil) {
			return localaws.FunctionConfig{}, fmt.Errorf("The provided execution role does not have permissions to call %s", words)
		}
	}
	if p.TracingConfig != nil && p.TracingConfig.Mode == "Active" && !r.aws.Allowed(p.Role, "xray:PutTraceSegments", "", nil) {
		return localaws.FunctionConfig{}, errors.New("The provided execution role does not have permissions to call PutTraceSegments on XRAY")
	}
	// A template declares an empty AWS_ENDPOINT_URL so that it can be set when
	// the function runs on a developer's machine, as here.
	env := maps.Clone(p.Environment.Variables)
	if env["AWS_ENDPOINT_URL"] == "" {
		delete(env, "AWS_ENDPOINT_URL")
	}
	dir, err := r.stack.code.dir(p.Code.S3Bucket, p.Code.S3Key)
	if err != nil {
		return localaws.FunctionConfig{}, err
	}
	return localaws.FunctionConfig{
		Name: name, Binary: filepath.Join(dir, bootstrap), Role: p.Role, Env: env,
		Timeout: time.Duration(p.Timeout) * time.Second, MemoryMB: p.MemorySize, Stderr: r.stack.log,
	}, nil
}

// checkLogging refuses unknown levels, and levels that the log format does not
// support.
// https://docs.aws.amazon.com/lambda/latest/api/API_LoggingConfig.html
func (p *functionProperties) checkLogging() error {
	l := p.LoggingConfig
	if l == nil {
		return nil
	}
	switch {
	case !slices.Contains([]string{"", "JSON", "Text"}, l.LogFormat):
		return fmt.Errorf("LoggingConfig: LogFormat %.40q: want JSON or Text", l.LogFormat)
	case l.LogFormat != "JSON" && l.ApplicationLogLevel+l.SystemLogLevel != "":
		return errors.New("LoggingConfig: log levels are for LogFormat JSON")
	case !slices.Contains([]string{"", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}, l.ApplicationLogLevel):
		return fmt.Errorf("LoggingConfig: ApplicationLogLevel %.40q: want one such as INFO", l.ApplicationLogLevel)
	case !slices.Contains([]string{"", "DEBUG", "INFO", "WARN"}, l.SystemLogLevel):
		return fmt.Errorf("LoggingConfig: SystemLogLevel %.40q: want DEBUG, INFO or WARN", l.SystemLogLevel)
	}
	return nil
}

func (p *functionProperties) is(f *localaws.Function) made {
	return made{id: f.Name(), attributes: map[string]any{"Arn": f.ARN()}}
}

var functionType = native[functionProperties]{
	attributes: []string{"Arn"},
	made: func(_ context.Context, r *request, p functionProperties) (made, error) {
		name := r.name(p.FunctionName, 64)
		cfg, err := p.config(r, name)
		if err != nil {
			return made{}, err
		}
		if err := r.aws.Keep(lambdaFunction, name); err != nil {
			return made{}, err
		}
		f, err := r.aws.StartFunction(r.stack.life, cfg)
		if err != nil {
			r.aws.Forget(lambdaFunction, name)
			return made{}, err
		}
		return p.is(f), nil
	},
	changed: func(_ context.Context, r *request, p, _ functionProperties) (made, error) {
		cfg, err := p.config(r, r.id)
		if err != nil {
			return made{}, err
		}
		f, err := r.aws.UpdateFunction(r.stack.life, cfg)
		if err != nil {
			return made{}, err
		}
		return p.is(f), nil
	},
	removed: func(_ context.Context, r *request, _ functionProperties) error {
		r.aws.RemoveFunction(r.id) // its versions too
		r.aws.Forget(lambdaFunction, r.id)
		return nil
	},
}

// function finds a function by name or ARN, with or without a qualifier.
func (r *request) function(name string) (*localaws.Function, error) {
	f := r.aws.Function(name)
	if f == nil {
		return nil, fmt.Errorf("Function not found: %s", name)
	}
	return f, nil
}

type versionProperties struct {
	FunctionName string `cfn:"required,replace"`
	Description  string `cfn:"replace"`
}

var versionType = native[versionProperties]{
	attributes: []string{"Version", "FunctionArn"},
	made: func(_ context.Context, r *request, p versionProperties) (made, error) {
		f, err := r.function(p.FunctionName)
		if err != nil {
			return made{}, err
		}
		v, published, err := r.aws.PublishVersion(f.Name())
		if err != nil {
			return made{}, err
		}
		if !published {
			return made{}, fmt.Errorf("A version for this Lambda function exists ( %s ). Modify the function to create a new version.", v.Version())
		}
		return made{id: v.ARN(), attributes: map[string]any{"Version": v.Version(), "FunctionArn": v.ARN()}}, nil
	},
	removed: func(_ context.Context, r *request, _ versionProperties) error {
		if f := r.aws.Function(r.id); f != nil {
			f.Close()
		}
		return nil
	},
}

type aliasProperties struct {
	FunctionName    string `cfn:"required,replace"`
	Name            string `cfn:"required,replace"`
	FunctionVersion string `cfn:"required"`
	Description     string
}

var aliasType = native[aliasProperties]{
	attributes: []string{"AliasArn"},
	made: func(_ context.Context, r *request, p aliasProperties) (made, error) {
		f, err := r.function(p.FunctionName)
		if err != nil {
			return made{}, err
		}
		arn := r.arn("lambda", "function:"+f.Name()+":"+p.Name)
		if err := r.aws.Keep(lambdaAlias, arn); err != nil {
			return made{}, err
		}
		if err := r.aws.SetAlias(f.Name(), p.Name, p.FunctionVersion); err != nil {
			r.aws.Forget(lambdaAlias, arn)
			return made{}, err
		}
		return made{id: arn, attributes: map[string]any{"AliasArn": arn}}, nil
	},
	changed: func(_ context.Context, r *request, p, _ aliasProperties) (made, error) {
		f, err := r.function(p.FunctionName)
		if err != nil {
			return made{}, err
		}
		return made{id: r.id, attributes: r.attributes}, r.aws.SetAlias(f.Name(), p.Name, p.FunctionVersion)
	},
	removed: func(_ context.Context, r *request, p aliasProperties) error {
		if f := r.aws.Function(p.FunctionName); f != nil {
			r.aws.RemoveAlias(f.Name(), p.Name)
		}
		r.aws.Forget(lambdaAlias, r.id)
		return nil
	},
}
