package localaws

import (
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"
	"github.com/google/uuid"
)

// serveInvokeStream is the Lambda operation InvokeWithResponseStream: the
// answer comes in PayloadChunk events as the function gives it, and
// InvokeComplete ends it. A function that fails is told of there too, with
// status 200, since the status has been sent by then.
// https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html
func (p *functions) serveInvokeStream(w http.ResponseWriter, r *http.Request, rec *Record) {
	w.Header().Set("X-Amzn-Requestid", uuid.NewString())
	if err := p.s.checkSignature(r, rec.RequestBody, "lambda"); err != nil {
		writeError(w, err.Status, err.Type, err.Message)
		return
	}
	f, kind, apiErr := p.checkInvoke(r, rec.RequestBody)
	if apiErr == nil && kind == "Event" {
		apiErr = errorf("InvalidParameterValueException", "InvocationType Event: want RequestResponse or DryRun")
	}
	if apiErr == nil {
		apiErr = p.s.authorize(r, access{action: "lambda:InvokeFunction", resources: []string{f.ARN()}})
	}
	if apiErr != nil {
		writeError(w, apiErr.Status, apiErr.Type, apiErr.Message)
		return
	}
	complete := object{}
	answer, err := f.InvokeStream(r.Context(), rec.RequestBody)
	var failed *InvokeError
	if err != nil && !errors.As(err, &failed) {
		writeError(w, http.StatusInternalServerError, "ServiceException", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/vnd.amazon.eventstream")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	if err == nil {
		defer answer.Body.Close()
		if failed = writeChunks(w, answer.Body); failed == nil && r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the caller has left
		}
	}
	if failed != nil {
		complete["ErrorCode"], complete["ErrorDetails"] = "Unhandled", string(failed.Payload)
	}
	writeEvent(w, eventstreamapi.EventMessageType, "InvokeComplete", complete)
}

// writeChunks passes an answer on as it comes, and returns how the function
// failed if it did.
func writeChunks(w http.ResponseWriter, body io.Reader) *InvokeError {
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			writeChunk(w, buf[:n])
		}
		var failed *InvokeError
		switch {
		case err == nil:
		case errors.As(err, &failed):
			return failed
		default:
			return nil
		}
	}
}

// writeChunk writes one PayloadChunk, whose payload is the bytes themselves.
func writeChunk(w http.ResponseWriter, chunk []byte) {
	var m eventstream.Message
	m.Headers.Set(eventstreamapi.EventTypeHeader, eventstream.StringValue("PayloadChunk"))
	m.Headers.Set(eventstreamapi.ContentTypeHeader, eventstream.StringValue("application/octet-stream"))
	m.Headers.Set(eventstreamapi.MessageTypeHeader, eventstream.StringValue(eventstreamapi.EventMessageType))
	m.Payload = chunk
	if err := eventstream.NewEncoder().Encode(w, m); err != nil {
		panic(http.ErrAbortHandler)
	}
	http.NewResponseController(w).Flush()
}
