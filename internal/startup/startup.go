// Package startup keeps the garbage collector off while a program starts. Nearly
// everything allocated then stays in use: tables of the AWS SDK, compiled
// schemas. A collection would take a third of the time to main and free nothing.
// A start that allocates more than it should is collected all the same, so that
// it does not use up the function's memory.
//
// A main that imports this package calls [Done] when it is ready to work.
package startup

import "runtime/debug"

// most is how many bytes the program may allocate before it is collected all the
// same. The smallest function has twice as much memory.
const most = 64 << 20

// percent and limit are the collector's settings from before. Packages are
// initialized in the order of their import paths, as far as imports allow, so
// this package comes before those of other modules.
// https://go.dev/ref/spec#Program_initialization
var (
	percent = debug.SetGCPercent(-1)
	limit   = debug.SetMemoryLimit(min(most, debug.SetMemoryLimit(-1)))
)

// Done restores the collector's settings: GOGC and GOMEMLIMIT, or their
// defaults.
func Done() {
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(limit)
}
