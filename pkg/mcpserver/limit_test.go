package mcpserver_test

import (
	"strings"
	"sync"
	"testing"

	"agentcore-mcp-auth/pkg/mcpserver"
)

// Decoded, a body of many small values takes a hundred times its length. What
// such bodies take together is bounded; others are served beside them. case 110,
// case 124
func TestMemory(t *testing.T) {
	s, entered, release := gate()
	url, log := serve(t, s, mcpserver.Config{})
	dense := toolCall("wait", `{"a":[`+strings.Repeat("[],", 90_000)+`0]}`)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			resp, body := post(t, url+"/mcp", dense)
			if got, failed := text(t, body); resp.StatusCode != 200 || got != "done" || failed {
				t.Errorf("got %d %s, want done", resp.StatusCode, body)
			}
		})
		<-entered
	}
	resp, body := post(t, url+"/mcp", dense)
	if a := decode(t, body); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || a.Error == nil || string(a.ID) != "1" {
		t.Errorf("a third: got %d %s, want 503 with Retry-After", resp.StatusCode, body)
	}
	log.await(t, `"outcome":"overloaded"`)
	if resp, body := post(t, url+"/mcp", ping); resp.StatusCode != 200 {
		t.Errorf("a small body beside them: got %d %s, want 200", resp.StatusCode, body)
	}
	close(release)
	wg.Wait()
	if resp, body := post(t, url+"/mcp", dense); resp.StatusCode != 200 {
		t.Errorf("afterwards: got %d %s, want 200", resp.StatusCode, body)
	}
}
