// Package startup keeps the garbage collector out of a program's start, when
// nearly everything that is allocated stays: tables of the AWS SDK, compiled
// schemas. A collection then takes a third of the time to main and frees nothing.
//
// A main that imports it calls [Done] when it is ready to work.
package startup

import "runtime/debug"

// percent is what the collector was set to before. Packages are initialized in
// the order of their import paths, as far as their imports allow, so this one
// comes before those of other modules.
// https://go.dev/ref/spec#Program_initialization
var percent = debug.SetGCPercent(-1)

// Done sets the collector to what it was set to: GOGC, or its default.
func Done() { debug.SetGCPercent(percent) }
