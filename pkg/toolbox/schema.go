package toolbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	maxSchema = 64 << 10 // bytes
	maxDepth  = 64
)

// checkSchema says why a tool's input schema, which is a stranger's JSON, cannot
// be handed on as it is; empty: it can. It neither compiles nor fetches anything,
// so that expressions and recursion in it stay mere text here.
//
// Bedrock wants the type to be object. A reference that leaves the document
// would send whoever resolves it to an address of the server's choice.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolInputSchema.html
// https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool
func checkSchema(schema json.RawMessage) string {
	if len(schema) > maxSchema {
		return fmt.Sprintf("has %d bytes; at most %d are taken", len(schema), maxSchema)
	}
	var top map[string]json.RawMessage // not a struct, whose fields "Type" would fill too
	if len(schema) == 0 || schema[0] != '{' || json.Unmarshal(schema, &top) != nil {
		return "is not an object"
	}
	if string(top["type"]) != `"object"` {
		return `does not have the type "object"`
	}
	d := json.NewDecoder(bytes.NewReader(schema))
	d.UseNumber()
	var open []json.Delim
	key, reference := false, false // whether a member's name comes next; whether a reference's value does
	for {
		token, err := d.Token()
		if err != nil { // the end: the schema is JSON, as it was part of an answer
			return ""
		}
		if delim, ok := token.(json.Delim); ok && (delim == '{' || delim == '[') {
			if open = append(open, delim); len(open) > maxDepth {
				return fmt.Sprintf("nests more than %d levels deep", maxDepth)
			}
			key, reference = delim == '{', false
			continue
		} else if ok {
			open = open[:len(open)-1]
		} else if s, text := token.(string); text && key {
			reference = s == "$ref" || s == "$dynamicRef" || s == "$recursiveRef"
			key = false
			continue
		} else if text && reference && !strings.HasPrefix(s, "#") {
			return fmt.Sprintf("refers to %.100q, outside of itself", s)
		}
		key, reference = len(open) > 0 && open[len(open)-1] == '{', false
	}
}
