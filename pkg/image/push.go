package image

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Target is where an image goes. It prints without its password.
type Target struct {
	Repository string // HOST[:PORT]/NAME; plain http only on loopback addresses

	// Username and Password are for the registry; without a username it is
	// asked for none.
	Username string
	Password string `json:"-"`

	// Transport carries the requests. Default: new connections of Push's own,
	// on which a registry that takes nothing or does not answer within half a
	// minute is asked again.
	Transport http.RoundTripper
}

// Format prints the repository alone.
func (t Target) Format(f fmt.State, _ rune) { io.WriteString(f, t.Repository) }

// mask is at most 1 KiB of what a registry said, without the password, which it
// may have repeated.
func (t Target) mask(text string) string {
	if t.Password != "" {
		basic := base64.StdEncoding.EncodeToString([]byte(t.Username + ":" + t.Password))
		text = strings.NewReplacer(basic, "[password]", t.Password, "[password]").Replace(text)
	}
	return text[:min(len(text), 1<<10)]
}

// Push puts the image into a repository and returns its URI by digest. Layers
// that are there already are not sent again, so a Push that was cut off can be
// repeated. Failures that may pass are tried again until ctx ends, five times at
// most. The image is tagged NAME-DIGEST, with twelve digits of the digest, since
// registries delete untagged images. The tag is never moved, so immutable tags
// and another Push of the same image at the same time do no harm.
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
	if to.Transport == nil {
		own := newTransport((&net.Dialer{Timeout: patience}).DialContext)
		defer own.CloseIdleConnections()
		to.Transport = own
	}
	options := []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(encrypted{to.Transport}),
		remote.WithRetryStatusCodes(again...),
		remote.WithRetryPredicate(func(err error) bool { return ctx.Err() == nil && mayPass(err) }),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 2.5, Jitter: 0.2, Steps: 5}),
		remote.WithUserAgent("agentcore-mcp-auth"),
	}
	if to.Username != "" {
		options = append(options, remote.WithAuth(&authn.Basic{Username: to.Username, Password: to.Password}))
	}
	tag := repository.Tag(i.name + "-" + digest.Hex[:12])
	err = remote.Write(tag, i.v1, options...)
	if status(err) == http.StatusBadRequest || status(err) == http.StatusConflict {
		// Another Push of this image may have finished it meanwhile. Writing
		// begins with a look at what is there, so it succeeds now.
		err = remote.Write(tag, i.v1, options...)
	}
	if err != nil {
		text := to.mask(err.Error()) + advice(err)
		if ctx.Err() != nil {
			return "", fmt.Errorf("image: pushing %s to %s: %w: %s", i.name, repository.Name(), context.Cause(ctx), text)
		}
		return "", fmt.Errorf("image: pushing %s to %s: %s", i.name, repository.Name(), text)
	}
	return repository.Name() + "@" + digest.String(), nil
}

// patience is how long a registry may take nothing of a request, and how long to
// answer it.
const patience = 30 * time.Second

func newTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = patience // from the end of the request
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return patient{c}, nil
	}
	return t
}

// patient is a connection of which each write has its time.
type patient struct{ net.Conn }

func (c patient) Write(b []byte) (int, error) {
	c.SetWriteDeadline(time.Now().Add(patience))
	return c.Conn.Write(b)
}

// again are the answers of a registry that may pass.
var again = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests,
	http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// mayPass reports whether another attempt can help: after a broken connection,
// a lost upload, or a status in again, whatever error code comes with it, but not
// after a refusal by either side.
func mayPass(err error) bool {
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil, errors.As(err, &certificate), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, errPlain), errors.Is(err, context.Canceled):
		return false
	}
	s := status(err)
	return s == 0 || slices.Contains(again, s) || uploadLost(err)
}

// uploadLost reports whether the registry does not know an upload that it has
// begun. A new one can be begun.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
func uploadLost(err error) bool {
	var refused *transport.Error
	return errors.As(err, &refused) && slices.ContainsFunc(refused.Errors, func(d transport.Diagnostic) bool {
		return d.Code == transport.BlobUploadUnknownErrorCode
	})
}

// status is what a registry refused with, 0 for other errors and none.
func status(err error) int {
	var refused *transport.Error
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}

var errPlain = errors.New("refusing plain http to anything but a loopback address; use the registry's https address")

// encrypted keeps passwords and images off plain http, which the library would
// also speak with registries in private networks.
type encrypted struct{ next http.RoundTripper }

func (t encrypted) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	ip := net.ParseIP(host)
	if r.URL.Scheme != "https" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errPlain
	}
	return t.next.RoundTrip(r)
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
	case refused.StatusCode == http.StatusNotFound && !uploadLost(err):
		return "; make the repository first"
	case strings.Contains(refused.Error(), "QUOTA"):
		return "; raise the registry's quota"
	}
	return ""
}
