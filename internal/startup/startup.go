// Package startup keeps the garbage collector out of a program's start, when
// nearly everything that is allocated stays: tables of the AWS SDK, compiled
// schemas. A collection then takes a third of the time to main and frees nothing.
// A start that allocates more than it should is collected all the same, so that
// it does not take the memory of the whole function.
//
// A main that imports it calls [Done] when it is ready to work.
package startup

import "runtime/debug"

// most is how many bytes the program may take before it is collected all the
// same; the smallest function has twice as much.
const most = 64 << 20

// percent and limit are what the collector was set to before. Packages are
// initialized in the order of their import paths, as far as their imports allow,
// so this one comes before those of other modules.
// https://go.dev/ref/spec#Program_initialization
var (
	percent = debug.SetGCPercent(-1)
	limit   = debug.SetMemoryLimit(min(most, debug.SetMemoryLimit(-1)))
)

// Done sets the collector to what it was set to: GOGC and GOMEMLIMIT, or their
// defaults.
func Done() {
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
}
