package customresource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// How often and how long an answer is sent.
const (
	maxAttempts = 6
	maxAttempt  = 10 * time.Second // one attempt; at most half of the time left
	firstWait   = 100 * time.Millisecond
	maxWait     = 2 * time.Second
)

func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true // a connection does not survive a freeze
		transport = t
	}
	return &http.Client{
		Transport: transport,
		// A redirect would carry the answer to a host that nobody checked.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// statusError is an answer of S3 other than success.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("S3 answered %d %s", int(e), http.StatusText(int(e)))
}

// again reports whether another attempt can help: after a broken connection,
// 429 and 5xx, but not after a refusal or a redirect.
func again(err error) bool {
	var status statusError
	return !errors.As(err, &status) || status == http.StatusTooManyRequests || status >= 500
}

// send PUTs the body until it is stored, it is refused, or the time is up. The
// same body twice is one answer, since the URL names one object.
func (w *wrapped) send(ctx context.Context, to *url.URL, body []byte) (attempts int, err error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(sendWithin)
	}
	// What is left after this is for logging the failure and returning it.
	deadline = deadline.Add(-min(time.Until(deadline)/10, 200*time.Millisecond))
	// CloudFormation gets an answer also when the work was told to stop.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()

	wait := firstWait
	for attempts = 1; ; attempts++ {
		if err = w.put(ctx, to, body, min(maxAttempt, time.Until(deadline)/2)); err == nil || !again(err) {
			return attempts, err
		}
		if attempts == maxAttempts {
			return attempts, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return attempts, fmt.Errorf("out of time: %w", err)
		}
		wait = min(2*wait, maxWait)
	}
}

// put makes one attempt. It sends no Content-Type: the URL is signed without.
func (w *wrapped) put(ctx context.Context, to *url.URL, body []byte, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), bytes.NewReader(body))
	if err != nil {
		return errReplyURL
	}
	res, err := w.client.Do(req)
	if err != nil {
		var shown *url.Error
		if errors.As(err, &shown) {
			err = shown.Err // without the URL
		}
		return err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return statusError(res.StatusCode)
	}
	return nil
}
