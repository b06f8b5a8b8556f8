package mcpserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
)

// handle has mcp-go handle a message and writes the answer.
func (h *Handler) handle(ctx context.Context, w *response, r *http.Request, c *call, s conversation, body []byte) {
	ctx = h.mcp.WithContext(&requestContext{ctx, c, h.headerKey, r.Header}, s)
	answer, err := h.ask(ctx, c, s, body)
	if err != nil {
		answer = mcp.NewJSONRPCError(mcp.NewRequestId(c.msg.id), mcp.INTERNAL_ERROR, c.fail(ctx, err), nil)
	}
	if answer == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if c.outcome == "disconnected" {
		return
	}
	status := http.StatusOK
	if e, ok := answer.(mcp.JSONRPCError); ok {
		e = c.mask(e)
		answer = e
		if c.modern {
			status = modernStatus(e.Error.Code)
		}
	}
	if c.msg.id == nil { // a notification that came to grief
		status = http.StatusInternalServerError
	}
	text, err := json.Marshal(answer)
	if err != nil { // a NaN in a tool's structured content, say
		writeError(w, http.StatusOK, c.msg.id, mcp.INTERNAL_ERROR, c.fail(ctx, fmt.Errorf("encoding the answer: %w", err)), nil)
	} else if err := w.answer(status, text); err != nil {
		c.unanswered(err)
	}
}

// ask has mcp-go handle a message and ends the conversation, also when that
// panics. The handlers of tools, prompts and resources are contained one by one;
// what else may be a team's own code, such as completions, filters and handlers
// of notifications, is contained here. The error is one of run's.
func (h *Handler) ask(ctx context.Context, c *call, s conversation, body []byte) (mcp.JSONRPCMessage, error) {
	defer func() {
		if lost := s.end(); lost != nil && c.detail == "" {
			c.detail = "a notification was not sent: " + lost.Error()
		}
	}()
	switch mcp.MCPMethod(c.msg.method) {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodSubscriptionsListen, mcp.MethodPing:
		return h.mcp.HandleMessage(ctx, body), nil
	}
	return run(ctx, h, c.msg.method, func(ctx context.Context) (mcp.JSONRPCMessage, error) {
		return h.mcp.HandleMessage(ctx, body), nil
	})
}

// mask keeps error texts that Go made for developers, those of internal errors
// and of undecodable requests, in the log, and sends words of our own.
func (c *call) mask(e mcp.JSONRPCError) mcp.JSONRPCError {
	if c.outcome == "ok" {
		c.outcome, c.detail = fmt.Sprintf("error %d", e.Error.Code), e.Error.Message
	}
	switch {
	case c.missing != "":
		e.Error = mcp.JSONRPCErrorDetails{
			Code:    mcp.MISSING_REQUIRED_CLIENT_CAPABILITY,
			Message: "this needs the client capability " + c.missing,
			Data:    map[string]any{"requiredCapabilities": map[string]any{c.missing: struct{}{}}},
		}
	case e.Error.Code == mcp.INTERNAL_ERROR:
		e.Error.Message = "internal error (request id " + c.requestID + ")"
	case e.Error.Code == mcp.INVALID_REQUEST:
		e.Error.Message = "the request does not have the form that its method asks for (request id " + c.requestID + ")"
	}
	return e
}
