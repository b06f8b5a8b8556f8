package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Target is where an image goes.
type Target struct {
	Repository string // HOST[:PORT]/NAME; plain http only on loopback addresses

	// Username and Password are for the registry; without a username it is
	// asked for none.
	Username, Password string

	Transport http.RoundTripper // default http.DefaultTransport
}

// again are the answers of a registry that may pass.
var again = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// Push puts the image into a repository and returns its URI by digest. What is
// there already is not sent again, so a Push that was cut off is repeated
// whole; what may pass is tried again until ctx ends, five times at most. The
// image is tagged NAME-DIGEST, twelve digits of it, since registries clean away
// what has no tag; the tag is never moved, so immutable tags are no hindrance.
//
// Its errors never contain the password.
func (i *Image) Push(ctx context.Context, to Target) (uri string, err error) {
	digest, err := i.v1.Digest()
	if err != nil {
		return "", fmt.Errorf("image: digest of %s: %w", i.name, err)
	}
	repository, err := name.NewRepository(to.Repository, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("image: repository %.200q: %w", to.Repository, err)
	}
	options := []remote.Option{
		remote.WithContext(ctx),
		remote.WithRetryStatusCodes(again...),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2.5, Jitter: 0.2, Steps: 5}),
		remote.WithUserAgent("agentcore-mcp-auth"),
	}
	if to.Username != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: to.Username, Password: to.Password}))
	}
	if to.Transport != nil {
		options = append(options, remote.WithTransport(to.Transport))
	}
	tag := repository.Tag(i.name + "-" + digest.Hex[:12])
	uri = repository.Name() + "@" + digest.String()
	if there, err := remote.Head(tag, options...); err == nil && there.Digest == digest {
		return uri, nil
	}
	if err := remote.Write(tag, i.v1, options...); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return "", fmt.Errorf("image: pushing %s to %s: %w%s", i.name, repository.Name(), err, advice(err))
	}
	return uri, nil
}

// advice says what to do about a refusal.
func advice(err error) string {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return ""
	}
	switch {
	case refused.StatusCode == http.StatusUnauthorized:
		return "; log in to the registry again"
	case refused.StatusCode == http.StatusForbidden:
		return "; allow pushing to this repository"
	case refused.StatusCode == http.StatusNotFound:
		return "; make the repository first"
	case strings.Contains(refused.Error(), "QUOTA"):
		return "; raise the registry's quota"
	}
	return ""
}
