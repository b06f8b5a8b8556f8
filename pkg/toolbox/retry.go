package toolbox

import (
	"context"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
)

const (
	maxRetries    = 10 // of what the other side calls temporary
	maxReconnects = 4  // of a request that never left or whose answer was lost

	minBackoff = 200 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// delay says whether a request that ended in err may be sent again, and after
// how long, when it has been sent again n times before. A request that was
// certainly not carried out may be, if the condition is one that passes. One
// that may have been carried out may be only if doing it twice does no harm.
func delay(err error, harmless bool, n int) (time.Duration, bool) {
	var platform *agentcore.Error
	isPlatform := errors.As(err, &platform)
	var unknown *UnknownOutcomeError
	most := maxReconnects
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrStalled), errors.Is(err, errAnswerTimeout):
		return 0, false
	case errors.As(err, &unknown) && !harmless:
		return 0, false
	case isPlatform:
		if !platform.Temporary() {
			return 0, false
		}
		most = maxRetries
	case unknown != nil:
	case !passing(err):
		return 0, false
	}
	if n >= most {
		return 0, false
	}
	d := backoff(n, minBackoff, maxBackoff)
	if isPlatform {
		d = max(d, platform.RetryAfter)
	}
	return d, true
}

// passing reports whether err kept a request from leaving and may pass: not a
// name that does not exist, not a certificate that is not to be trusted.
func passing(err error) bool {
	var unsent *unsentError
	var dns *net.DNSError
	var network net.Error
	switch {
	case !errors.As(err, &unsent):
		return false
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)):
		return false
	}
	return errors.As(err, &network) || ofNetwork(unsent.err)
}

// backoff doubles with n, with jitter over its upper half, so that many callers
// do not come back at once.
func backoff(n int, least, most time.Duration) time.Duration {
	d := most
	if n < 20 {
		d = min(most, least<<n)
	}
	return d/2 + rand.N(d/2)
}

// sleep waits for d and reports whether it did. It does not begin a wait that
// ctx's deadline would cut off.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
