package localaws

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An invocation is answered once: a second answer is refused while the first is
// still on its way, and the first is whole.
func TestProcess_answeredTwice(t *testing.T) {
	inv := &invocation{id: "r", answering: make(chan struct{}), done: make(chan struct{})}
	inv.body, inv.pipe = io.Pipe()
	p := &process{current: inv}
	post := func(serve http.HandlerFunc, body io.Reader) int {
		r := httptest.NewRequest("POST", "/", body)
		r.SetPathValue("id", "r")
		w := httptest.NewRecorder()
		serve(w, r)
		return w.Code
	}
	body, first := io.Pipe()
	status := make(chan int)
	go func() { status <- post(p.serveResponse, body) }()
	<-inv.answering
	if got := post(p.serveResponse, strings.NewReader("second")); got != http.StatusBadRequest {
		t.Errorf("a second answer: got %d, want 400", got)
	}
	if got := post(p.serveError, strings.NewReader("{}")); got != http.StatusBadRequest {
		t.Errorf("an error after the answer began: got %d, want 400", got)
	}
	go func() {
		io.WriteString(first, "first")
		first.Close()
	}()
	if got, err := io.ReadAll(inv.body); string(got) != "first" || err != nil {
		t.Errorf("got %q, %v, want the first answer", got, err)
	}
	if got := <-status; got != http.StatusAccepted {
		t.Errorf("the first answer: got %d, want 202", got)
	}
	<-inv.done
}
