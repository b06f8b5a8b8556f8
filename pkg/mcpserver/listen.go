package mcpserver

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// listener is the session of a subscriptions/listen request. While the request
// lasts, mcp-go knows the session by an id and passes broadcasts on to it.
// mcp-go's own transport is not used, since it often ends a stream before it has
// written the acknowledgement, and never says that a stream ends in good order.
// https://modelcontextprotocol.io/specification/2026-07-28/basic/patterns/subscriptions
type listener struct {
	session
	id           string
	subscription json.RawMessage // the request's id, which every message carries

	// Guarded by session.mu.
	filter       mcp.SubscriptionFilter
	acknowledged bool // the acknowledgement comes before everything else
}

var _ server.SessionWithSubscriptionFilter = &listener{}

func newListener(w *response, c *call) *listener {
	l := &listener{session: session{w: w}, id: "listen-" + c.requestID, subscription: c.msg.id}
	l.tag = l.subscribe
	return l
}

func (l *listener) SessionID() string { return l.id }

func (l *listener) SetSubscriptionFilter(filter mcp.SubscriptionFilter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.filter = filter
}

// SubscriptionFilter says that nothing is wanted until the subscription has
// been acknowledged.
func (l *listener) SubscriptionFilter() (mcp.SubscriptionFilter, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.acknowledged {
		return mcp.SubscriptionFilter{}, true
	}
	return l.filter, true
}

// subscribe puts the id of the subscription on a notification.
func (l *listener) subscribe(n *mcp.JSONRPCNotification) {
	if n.Method == mcp.MethodNotificationSubscriptionsAcknowledged {
		l.mu.Lock()
		l.acknowledged = true
		l.mu.Unlock()
	}
	meta := maps.Clone(n.Params.Meta) // the notification is shared with other listeners
	if meta == nil {
		meta = map[string]any{}
	}
	meta[mcp.MetaKeySubscriptionID] = l.subscription
	n.Params.Meta = meta
}

// listen serves a stream of notifications until the call timeout, which is when
// the client has to ask again, or until the endpoint drains.
func (h *Handler) listen(w *response, r *http.Request, c *call) {
	if !take(h.listens) {
		h.busy(w, c)
		return
	}
	defer func() { <-h.listens }()
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.CallTimeout)
	defer cancel()
	defer context.AfterFunc(h.stopped, cancel)()
	l := newListener(w, c)
	if err := h.mcp.RegisterSession(ctx, l); err != nil { // the id is one of 2^64
		h.refuse(w, c, http.StatusServiceUnavailable, codeBusy, "try again")
		return
	}
	defer h.mcp.UnregisterSession(context.WithoutCancel(ctx), l.id)
	h.handle(ctx, w, r, c, l, c.body)
}
