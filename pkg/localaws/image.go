package localaws

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Container is an unpacked image.
type Container struct {
	Program      string // path of its entry point on this machine
	Args, Env    []string
	User         string
	Architecture string
}

// UnpackImage pulls an image with the permissions of a runtime's role, as
// AgentCore does, and unpacks it into dir. The image must be in a repository of
// this account and region. It must be for linux/arm64, like AgentCore's, or for
// this machine's own architecture.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-mcp-protocol-contract.html
func (s *Server) UnpackImage(ctx context.Context, uri, roleARN, dir string) (Container, error) {
	img, err := s.pull(ctx, uri, roleARN)
	if err != nil {
		return Container{}, fmt.Errorf("pulling image %.200q: %w", uri, err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return Container{}, fmt.Errorf("reading the configuration of image %s: %w", uri, err)
	}
	if file.OS != "linux" || file.Architecture != "arm64" && file.Architecture != goruntime.GOARCH {
		return Container{}, fmt.Errorf("image %s is for %s/%s; AgentCore runs linux/arm64", uri, file.OS, file.Architecture)
	}
	if len(file.Config.Entrypoint) == 0 {
		return Container{}, fmt.Errorf("image %s has no entry point", uri)
	}
	layers, err := img.Layers()
	if err != nil {
		return Container{}, fmt.Errorf("reading the layers of image %s: %w", uri, err)
	}
	for _, l := range layers {
		if err := unpack(l, dir); err != nil {
			return Container{}, fmt.Errorf("unpacking image %s: %w", uri, err)
		}
	}
	return Container{
		Program: filepath.Join(dir, filepath.Clean("/"+file.Config.Entrypoint[0])), // never above dir
		Args:    append(file.Config.Entrypoint[1:], file.Config.Cmd...),
		Env:     file.Config.Env, User: file.Config.User, Architecture: file.Architecture,
	}, nil
}

func (s *Server) pull(ctx context.Context, uri, roleARN string) (v1.Image, error) {
	path, ok := strings.CutPrefix(uri, s.images.host()+"/")
	if !ok || !strings.ContainsAny(path, ":@") {
		return nil, fmt.Errorf("want an image in this account's and region's registry, as %s/NAME@sha256:…", s.images.host())
	}
	cfg := s.AWSConfig()
	if roleARN != "" {
		var err error
		if cfg, err = s.RoleConfig(roleARN, "BedrockAgentCore"); err != nil {
			return nil, err
		}
	}
	out, err := ecr.NewFromConfig(cfg).GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(aws.ToString(out.AuthorizationData[0].AuthorizationToken))
	if err != nil {
		return nil, err
	}
	user, password, _ := strings.Cut(string(plain), ":")
	ref, err := name.ParseReference(strings.TrimPrefix(aws.ToString(out.AuthorizationData[0].ProxyEndpoint), "http://") + "/" + path)
	if err != nil {
		return nil, err
	}
	return remote.Image(ref, remote.WithContext(ctx), remote.WithAuth(&authn.Basic{Username: user, Password: password}))
}

// unpack writes the files of a layer below dir.
func unpack(l v1.Layer, dir string) error {
	content, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for files := tar.NewReader(content); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.FromSlash(strings.Trim(h.Name, "/"))
		if strings.HasPrefix(filepath.Base(path), ".wh.") {
			return fmt.Errorf("localaws does not implement layers that remove files, as %s does", h.Name)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(path, 0o755)
		case tar.TypeReg:
			err = writeFile(root, path, h.FileInfo().Mode(), files)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, path string, mode os.FileMode, content io.Reader) error {
	b, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	// A process that another goroutine starts now would inherit the open file
	// for a moment. No program can be run while it is open for writing.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return root.WriteFile(path, b, mode.Perm()|0o200)
}
