package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// schema2020 has the keywords of JSON Schema 2020-12 that SEP-1613 and SEP-2106
// want kept on their way to the client.
const schema2020 = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"$defs": {
		"address": {
			"$anchor": "addressDef",
			"type": "object",
			"properties": {"street": {"type": "string"}, "city": {"type": "string"}}
		}
	},
	"properties": {
		"name": {"type": "string"},
		"address": {"$ref": "#/$defs/address"},
		"contactMethod": {"type": "string", "enum": ["phone", "email"]},
		"phone": {"type": "string"},
		"email": {"type": "string"}
	},
	"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
	"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
	"then": {"required": ["phone"]},
	"else": {"required": ["email"]},
	"additionalProperties": false
}`

// addTools adds the tools that the suite calls. If the suite does not say what a
// tool must do, a comment names the scenario that calls it.
func addTools(s *server.MCPServer) {
	add := func(name, description string, handler server.ToolHandlerFunc) {
		s.AddTool(mcp.NewTool(name, mcp.WithDescription(description)), handler)
	}
	result := func(content ...mcp.Content) server.ToolHandlerFunc {
		return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: content}, nil
		}
	}
	add("test_simple_text", "Answers with text",
		result(mcp.NewTextContent("This is a simple text response for testing.")))
	add("test_image_content", "Answers with an image",
		result(mcp.NewImageContent(picture(), "image/png")))
	add("test_audio_content", "Answers with a sound",
		result(mcp.NewAudioContent(sound(), "audio/wav")))
	add("test_embedded_resource", "Answers with a resource",
		result(mcp.NewEmbeddedResource(text("test://embedded-resource", "text/plain", "This is an embedded resource content."))))
	add("test_multiple_content_types", "Answers with text, an image and a resource",
		result(
			mcp.NewTextContent("Multiple content types test:"),
			mcp.NewImageContent(picture(), "image/png"),
			mcp.NewEmbeddedResource(text("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`)),
		))
	add("test_error_handling", "Always fails", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultError("This tool intentionally returns an error for testing"), nil
	})
	add("test_tool_with_progress", "Reports its progress", reportProgress)
	add("test_tool_with_logging", "Logs while it runs", sendLog(mcp.LoggingLevelInfo, 50*time.Millisecond,
		"Tool execution started", "Tool processing data", "Tool execution completed"))
	// server-stateless: no log message, whatever its level, may reach a client
	// that did not ask for any.
	add("test_logging_tool", "Logs an emergency", sendLog(mcp.LoggingLevelEmergency, 0, "Nobody asked for this"))
	// server-stateless: asks the client a question in its result, the only way
	// from 2026-07-28 on.
	add("test_streaming_elicitation", "Asks the user a question", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return server.NewInputRequestBuilder("").Elicit("name", mcp.ElicitationParams{
			Message:         "What is your name?",
			RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}},
		}).ToolResult(), nil
	})
	// server-stateless: cannot work without a client that samples.
	add("test_missing_capability", "Needs a capability that the client has not declared", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		client, ok := server.ClientSessionFromContext(ctx).(server.SessionWithClientInfo)
		if !ok || client.GetClientCapabilities().Sampling == nil {
			return nil, mcp.MissingRequiredClientCapabilityError{Capability: "sampling"}
		}
		return mcp.NewToolResultText("done"), nil
	})
	// server-stateless: adding a tool announces a changed list, even if the tool
	// replaces itself.
	add("test_trigger_tool_change", "Announces a new list of tools", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		again := server.ServerFromContext(ctx).GetTool("test_simple_text")
		server.ServerFromContext(ctx).AddTool(again.Tool, again.Handler)
		return mcp.NewToolResultText("done"), nil
	})
	add("test_trigger_prompt_change", "Announces a new list of prompts", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		addPrompts(server.ServerFromContext(ctx))
		return mcp.NewToolResultText("done"), nil
	})

	ok := result(mcp.NewTextContent("ok"))
	s.AddTool(mcp.NewToolWithRawSchema("json_schema_2020_12_tool", "Has a schema with many keywords", json.RawMessage(schema2020)), ok)
	// http-custom-header-server-validation
	s.AddTool(mcp.NewToolWithRawSchema("test_custom_header", "Has an argument that is repeated in a header", json.RawMessage(
		`{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}},"required":["region"]}`)), ok)
}

// reportProgress does what the scenario tools-call-with-progress describes.
func reportProgress(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	for _, done := range []int{0, 50, 100} {
		if req.Params.Meta != nil && req.Params.Meta.ProgressToken != nil {
			if err := server.ServerFromContext(ctx).SendNotificationToClient(ctx, "notifications/progress", map[string]any{
				"progressToken": req.Params.Meta.ProgressToken, "progress": done, "total": 100,
			}); err != nil {
				return nil, err
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return mcp.NewToolResultText("done"), nil
}

// sendLog makes a tool that sends log messages, pausing after each.
func sendLog(level mcp.LoggingLevel, pause time.Duration, messages ...string) server.ToolHandlerFunc {
	return func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for _, m := range messages {
			if err := server.ServerFromContext(ctx).SendLogMessageToClient(ctx, mcp.NewLoggingMessageNotification(level, "conformance", m)); err != nil {
				return nil, err
			}
			time.Sleep(pause)
		}
		return mcp.NewToolResultText("done"), nil
	}
}

// picture is one red pixel.
func picture() string {
	m := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	m.Set(0, 0, color.NRGBA{R: 255, A: 255})
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// sound is one silent sample of 8 bits, mono, at 8 kHz, padded to two bytes.
func sound() string {
	b := []byte("RIFF\x00\x00\x00\x00WAVEfmt ")
	b = binary.LittleEndian.AppendUint32(b, 16)
	for _, v := range []any{uint16(1), uint16(1), uint32(8000), uint32(8000), uint16(1), uint16(8)} {
		b, _ = binary.Append(b, binary.LittleEndian, v)
	}
	b = append(b, "data\x01\x00\x00\x00\x80\x00"...)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return base64.StdEncoding.EncodeToString(b)
}

func text(uri, mimeType, content string) mcp.TextResourceContents {
	return mcp.TextResourceContents{URI: uri, MIMEType: mimeType, Text: content}
}
