// Package events holds one sample of each event that the functions accept, for
// the command line, the tests and `sam local invoke`.
package events

import "embed"

// FS has the samples by file name.
//
//go:embed *.json
var FS embed.FS
