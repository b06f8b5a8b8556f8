// Package customresource is what the Lambda functions behind CloudFormation
// custom resources share: CloudFormation always gets an answer, once, and
// before Lambda ends the function.
//
// A resource is a [Handler]. [Wrap] makes a Lambda handler of it that checks
// the event and the reply URL before the Handler is called, bounds the
// Handler's time, turns a panic into FAILED, and sends the answer within
// CloudFormation's limits:
//
//	lambda.Start(customresource.Wrap(handle, customresource.Options{Logger: logger, Region: region}))
//
// Runnable examples are in example_test.go; they need no AWS account.
//
// The protocol:
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
package customresource

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
)

// Handler does the work of one request and returns the resource's physical id
// and its attributes. Its error's text becomes the reason that CloudFormation
// shows. An empty id stands for the id in the event, or on Create for one that
// is the same for every Create of the resource. The id returned on Delete does
// not count. ctx ends early enough to answer; a Handler that does not return
// then is abandoned, so it must not ignore ctx. The same event may come twice.
type Handler func(ctx context.Context, e cfn.Event) (physicalID string, data map[string]any, err error)

// Options say how a [Handler] is run. Every zero field has a default.
type Options struct {
	// Logger gets one line per event and one per answer. Default:
	// slog.Default.
	Logger *slog.Logger

	// Region is the region that the function runs in, which is the stack's;
	// reply URLs of other regions are refused. Main sets it: a bucket in the
	// name of a region that does not exist can be anybody's. Default: any
	// region of the partitions aws, aws-cn and aws-us-gov.
	Region string

	// AllowLoopback admits reply URLs on loopback addresses, for local runs.
	AllowLoopback bool

	// Transport sends the answer. Default: one that makes a new connection for
	// each attempt, since Lambda freezes the process between events.
	Transport http.RoundTripper
}

// Times that bound one event.
const (
	answerReserve = 5 * time.Second // before Lambda's deadline, to send the answer in; at most a third of the time there is
	sendWithin    = time.Minute     // for an answer where ctx has no deadline
)

// wrapped is a Handler with all it needs.
type wrapped struct {
	h      Handler
	log    *slog.Logger
	urls   urlRule
	client *http.Client
}

// Wrap makes the Lambda handler of a custom resource.
//
// It returns nil once CloudFormation has an answer, FAILED included, so that
// Lambda does not run the event again. It returns an error, which makes Lambda
// count a failure and, unless the function's MaximumRetryAttempts is 0, run the
// event again, in two cases: the reply URL is missing or is not one of
// CloudFormation's, and then the Handler is not called; or the answer could not
// be delivered. Neither errors nor logs contain the signed URL.
func Wrap(h Handler, o Options) func(context.Context, json.RawMessage) error {
	w := &wrapped{
		h:      h,
		log:    cmp.Or(o.Logger, slog.Default()),
		urls:   urlRule{region: o.Region, loopback: o.AllowLoopback},
		client: newClient(o.Transport),
	}
	return w.serve
}

// serve answers one event.
func (w *wrapped) serve(ctx context.Context, raw json.RawMessage) error {
	e, invalid := decode(raw)
	replyTo, err := w.urls.check(e.ResponseURL)
	log := w.log.With("request_type", clip(string(e.RequestType)), "request_id", e.RequestID, "stack_id", e.StackID,
		"logical_id", e.LogicalResourceID, "resource_type", clip(e.ResourceType))
	if err != nil {
		err = errors.Join(err, invalid)
		log.Error("custom resource event refused", "reply_url", redactURL(e.ResponseURL), "error", err)
		return fmt.Errorf("refusing the custom resource event: %w", err)
	}
	log.Info("custom resource event", "physical_id", e.PhysicalResourceID, "reply_url", redactURL(e.ResponseURL))

	a := answer{event: e, started: time.Now()}
	if invalid != nil {
		a.err = invalid
	} else {
		a.physicalID, a.data, a.err = w.work(ctx, log, e)
	}
	res, body := a.build()
	attempts, err := w.send(ctx, replyTo, body)
	attrs := []any{"status", string(res.Status), "physical_id", res.PhysicalResourceID, "attempts", attempts,
		"duration_ms", time.Since(a.started).Milliseconds()}
	if res.Reason != "" {
		attrs = append(attrs, "reason", res.Reason)
	}
	if err != nil {
		err = fmt.Errorf("answering CloudFormation: %w", err)
		log.Error("custom resource answer not delivered", append(attrs, "error", err)...)
		return err
	}
	log.Info("custom resource answer", attrs...)
	return nil
}

// work calls the Handler under a deadline of its own and waits for it no
// longer than that deadline and a little grace, in which a Handler that
// respects ctx says itself where it stopped.
func (w *wrapped) work(ctx context.Context, log *slog.Logger, e cfn.Event) (string, map[string]any, error) {
	reserve := answerReserve
	if deadline, ok := ctx.Deadline(); ok {
		reserve = min(reserve, time.Until(deadline)/3)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-reserve))
		defer cancel()
	}
	type outcome struct {
		id   string
		data map[string]any
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		out := outcome{err: errors.New("the function stopped without a result; its log says more")}
		defer func() {
			if v := recover(); v != nil {
				log.Error("custom resource panic", "panic", scrub(fmt.Sprint(v), e.ResponseURL), "stack", string(debug.Stack()))
				out = outcome{err: errors.New("the function panicked; its log says where")}
			}
			done <- out
		}()
		id, data, err := w.h(ctx, e)
		out = outcome{id, data, err}
	}()
	select {
	case out := <-done:
		return out.id, out.data, out.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(reserve / 4)
	defer grace.Stop()
	select {
	case out := <-done:
		return out.id, out.data, out.err
	case <-grace.C:
		return "", nil, fmt.Errorf("the work was not finished in time (%w) and was abandoned; raise the function's timeout or try again", context.Cause(ctx))
	}
}

// clip bounds what an unchecked event can add to a log line.
func clip(s string) string { return s[:min(len(s), 80)] }

// fallbackID is the physical id of a resource whose Create returned none: the
// same for every Create of that resource.
func fallbackID(e cfn.Event) string {
	sum := sha256.Sum256([]byte(e.StackID + "\x00" + e.LogicalResourceID))
	return "custom-resource-" + hex.EncodeToString(sum[:16])
}

// scrub keeps the reply URL and what signs it out of a text, in whatever
// escaping the URL appears there.
func scrub(text, replyURL string) string {
	if replyURL == "" {
		return text
	}
	text = strings.ReplaceAll(text, replyURL, "[reply URL]")
	_, query, _ := strings.Cut(replyURL, "?")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch strings.ToLower(name) {
		case "x-amz-signature", "signature", "x-amz-security-token", "x-amz-credential":
			if value != "" {
				text = strings.ReplaceAll(text, value, "[redacted]")
			}
		}
	}
	return text
}
