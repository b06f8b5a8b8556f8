package toolbox

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"agentcore-mcp-auth/pkg/agentcore"
)

// maxResponse bounds one answer of a server, stream or not.
const maxResponse = 8 << 20

// statusTransport sits below mcp-go's client, which takes every 4xx on
// initialize for a server of an old protocol and loses the status of the rest:
// it turns what is not a success into an [agentcore.Error] first, and bounds
// what is read.
type statusTransport struct{ base http.RoundTripper }

func (t statusTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxResponse}
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	e := &agentcore.Error{
		Status:     resp.StatusCode,
		RequestID:  resp.Header.Get(agentcore.HeaderRequestID),
		RetryAfter: retryAfter(resp.Header),
	}
	e.Code, e.Message = readError(body)
	return nil, e
}

// readError finds the code and the message in a JSON-RPC error or in the JSON
// of an AWS error. Anything else, such as a proxy's HTML, has nothing to say.
func readError(body []byte) (code int, message string) {
	var answer struct {
		Message string `json:"message"`
		Error   struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return 0, ""
	}
	if answer.Error.Message != "" {
		answer.Message = answer.Error.Message
	}
	return answer.Error.Code, oneLine(answer.Message)
}

// oneLine makes foreign text fit for an error: printable, on one line, short.
func oneLine(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "�")), " ")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}

func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Hour)
}

// boundedBody fails a read past its bound, instead of ending as if all had been
// read.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is over %d bytes", maxResponse)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
