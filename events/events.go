// Package events holds one sample of each event that the functions accept, for
// the command line, the tests and `sam local invoke`.
package events

import "embed"

// FS has the samples by file name. env.json is not one: it points
// `sam local invoke` at this machine.
//
//go:embed ask.json cfn-*.json eventbridge.json function-url.json http-api.json image-*.json rest-api.json s*.json
var FS embed.FS
