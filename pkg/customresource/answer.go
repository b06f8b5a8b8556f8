package customresource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/cfn"
)

// maxBody is the most that CloudFormation reads of an answer.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html
const maxBody = 4096

// answer is the outcome of the work on an event.
type answer struct {
	event      cfn.Event
	started    time.Time
	physicalID string
	data       map[string]any
	err        error
}

// build makes the answer and its body of at most maxBody bytes. A reason that
// is too long is cut. Attributes are never cut: if they do not fit or cannot be
// written, the answer is FAILED.
func (a *answer) build() (cfn.Response, []byte) {
	e := a.event
	res := cfn.Response{
		Status: cfn.StatusSuccess, RequestID: e.RequestID, LogicalResourceID: e.LogicalResourceID, StackID: e.StackID,
		PhysicalResourceID: a.id(), NoEcho: true, Data: a.data,
	}
	if a.err == nil && !validID(a.physicalID) {
		a.err = fmt.Errorf("the resource's id has %d bytes, or is not UTF-8; CloudFormation takes %d", len(a.physicalID), maxPhysicalID)
	}
	if a.err == nil {
		body, err := encode(res)
		switch {
		case err != nil:
			a.err = fmt.Errorf("the resource's attributes cannot be written as JSON: %w", err)
		case len(body) > maxBody:
			a.err = fmt.Errorf("the answer with the resource's attributes has %d bytes; CloudFormation takes %d", len(body), maxBody)
		default:
			return res, body
		}
	}
	res.Status, res.Data = cfn.StatusFailed, nil
	return fail(res, reason(a.err, e.ResponseURL), fallbackID(e))
}

// id is the physical id to answer with.
func (a *answer) id() string {
	switch e := a.event; {
	case e.RequestType == cfn.RequestDelete && e.PhysicalResourceID != "":
		return e.PhysicalResourceID
	case a.physicalID != "" && validID(a.physicalID):
		return a.physicalID
	case e.PhysicalResourceID != "":
		return e.PhysicalResourceID
	default:
		return fallbackID(e)
	}
}

func validID(id string) bool { return len(id) <= maxPhysicalID && utf8.ValidString(id) }

// reason is an error's text as CloudFormation may see it.
func reason(err error, replyURL string) string {
	text := strings.TrimSpace(strings.ToValidUTF8(scrub(err.Error(), replyURL), "\uFFFD"))
	if text == "" {
		text = "failed without a reason; the function's log may say more"
	}
	return text
}

// fail finds the longest beginning of a reason with which res fits, and takes
// the id known to fit instead of res's where no reason fits.
func fail(res cfn.Response, text, shortID string) (cfn.Response, []byte) {
	const cut = "…"
	fits := func(reason string) []byte {
		res.Reason = reason
		if body, err := encode(res); err == nil && len(body) <= maxBody {
			return body
		}
		return nil
	}
	if body := fits(text); body != nil {
		return res, body
	}
	if fits(cut) == nil {
		res.PhysicalResourceID = shortID
		if body := fits(text); body != nil {
			return res, body
		}
	}
	low, high := 0, min(len(text), maxBody) // the beginning of low bytes fits
	for low < high {
		mid := (low + high + 1) / 2
		if fits(text[:boundary(text, mid)]+cut) != nil {
			low = mid
		} else {
			high = mid - 1
		}
	}
	body := fits(text[:boundary(text, low)] + cut)
	return res, body
}

// boundary is the last start of a rune in text at or before n.
func boundary(text string, n int) int {
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

// encode writes an answer without escaping what only HTML needs escaped.
func encode(res cfn.Response) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(res); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
