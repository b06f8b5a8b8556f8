package tokensource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

const (
	// requestTimeout bounds one request of a fetch, answer included.
	requestTimeout = 7 * time.Second

	// maxDocument bounds a metadata document or a token answer.
	maxDocument = 1 << 20
)

// wire is what the parts of a fetch share.
type wire struct {
	transport http.RoundTripper // and not an http.Client: redirects are answers like others
	now       func() time.Time
	rule      hostRule
	path      string // stands before parameter names in errors
}

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends req and reads the whole answer, up to maxDocument. No answer, and
// the statuses that may pass (408, 429 and 5xx), are an [*UnavailableError]. Its
// text names the host and not the rest of the URL.
func (w *wire) send(ctx context.Context, doing string, req *http.Request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	unavailable := func(err error) error {
		return &UnavailableError{Doing: doing, Err: fmt.Errorf("%s: %w", req.URL.Host, err)}
	}
	resp, err := w.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return answer{}, unavailable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return answer{}, unavailable(err)
	case len(body) > maxDocument:
		return answer{}, unavailable(fmt.Errorf("its answer is over %d bytes", maxDocument))
	case resp.StatusCode == http.StatusRequestTimeout, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		return answer{}, &UnavailableError{
			Doing:      doing,
			Err:        fmt.Errorf("%s: it answered %d", req.URL.Host, resp.StatusCode),
			RetryAfter: retryAfter(resp.Header, w.now()),
		}
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// errNotJSON quotes nothing of the answer.
var errNotJSON = errors.New("its answer is not JSON of the expected form")

// json reads the body into v. The media type must be application/json, or the
// one given.
func (a answer) json(v any, also ...string) error {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || media != "application/json" && (len(also) == 0 || media != also[0]) {
		return errNotJSON
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		return errNotJSON
	}
	return nil
}

// retryAfter reads the header of RFC 9110, section 10.2.3, in both its forms: an
// hour at most.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, 3600)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), time.Hour)
	}
	return 0
}
