package startup_test

import (
	"runtime/debug"
	"testing"

	"agentcore-mcp-auth/internal/startup"
)

// The collector stands still until Done, and is then as it was.
func TestDone(t *testing.T) {
	before := debug.SetGCPercent(-1)
	if before != -1 {
		t.Errorf("the collector was at %d%% while the program started", before)
	}
	startup.Done()
	after := debug.SetGCPercent(100)
	if after <= 0 {
		t.Errorf("after Done it is at %d%%", after)
	}
	debug.SetGCPercent(after)
}
