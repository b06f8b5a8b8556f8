package startup_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"agentcore-mcp-auth/internal/startup"
)

var kept []byte

// The collector is off until Done, unless a start allocates more than a function
// has memory. Then its settings are restored.
func TestDone(t *testing.T) {
	before := debug.SetGCPercent(-1)
	if before != -1 {
		t.Errorf("the collector was at %d%% while the program started", before)
	}
	for range 256 {
		kept = make([]byte, 1<<20)
	}
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.HeapSys > 128<<20 {
		t.Errorf("256 MiB of garbage took %d bytes", m.HeapSys)
	}
	startup.Done()
	after := debug.SetGCPercent(100)
	if after <= 0 {
		t.Errorf("after Done it is at %d%%", after)
	}
	debug.SetGCPercent(after)
	if got := debug.SetMemoryLimit(-1); got <= 64<<20 {
		t.Errorf("after Done the program may take %d bytes", got)
	}
}
