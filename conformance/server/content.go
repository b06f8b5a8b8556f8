package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

// addPrompts adds the prompts that the suite asks for.
func addPrompts(s *server.MCPServer) {
	required := func(name string) mcp.PromptOption {
		return mcp.WithArgument(name, mcp.ArgumentDescription("for the test"), mcp.RequiredArgument())
	}
	add := func(name string, answer func(args map[string]string) []mcp.Content, options ...mcp.PromptOption) {
		s.AddPrompt(mcp.NewPrompt(name, append(options, mcp.WithPromptDescription("for the test"))...),
			func(_ context.Context, req mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
				var messages []mcp.PromptMessage
				for _, content := range answer(req.Params.Arguments) {
					messages = append(messages, mcp.NewPromptMessage(mcp.RoleUser, content))
				}
				return mcp.NewGetPromptResult("", messages), nil
			})
	}
	add("test_simple_prompt", func(map[string]string) []mcp.Content {
		return []mcp.Content{mcp.NewTextContent("This is a simple prompt for testing.")}
	})
	add("test_prompt_with_arguments", func(args map[string]string) []mcp.Content {
		return []mcp.Content{mcp.NewTextContent(fmt.Sprintf("Prompt with arguments: arg1='%s', arg2='%s'", args["arg1"], args["arg2"]))}
	}, required("arg1"), required("arg2"))
	add("test_prompt_with_embedded_resource", func(args map[string]string) []mcp.Content {
		return []mcp.Content{
			mcp.NewEmbeddedResource(text(args["resourceUri"], "text/plain", "Embedded resource content for testing.")),
			mcp.NewTextContent("Please process the embedded resource above."),
		}
	}, required("resourceUri"))
	add("test_prompt_with_image", func(map[string]string) []mcp.Content {
		return []mcp.Content{
			mcp.NewImageContent(picture(), "image/png"),
			mcp.NewTextContent("Please analyze the image above."),
		}
	})
}

// addResources adds the resources that the suite reads.
func addResources(s *server.MCPServer) {
	add := func(uri, mimeType string, contents mcp.ResourceContents) {
		s.AddResource(mcp.NewResource(uri, uri, mcp.WithResourceDescription("for the test"), mcp.WithMIMEType(mimeType)),
			func(context.Context, mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
				return []mcp.ResourceContents{contents}, nil
			})
	}
	add("test://static-text", "text/plain", text("test://static-text", "text/plain", "This is the content of the static text resource."))
	add("test://static-binary", "image/png", mcp.BlobResourceContents{URI: "test://static-binary", MIMEType: "image/png", Blob: picture()})

	const before, after = "test://template/", "/data"
	s.AddResourceTemplate(mcp.NewResourceTemplate(before+"{id}"+after, "template", mcp.WithTemplateDescription("for the test"), mcp.WithTemplateMIMEType("application/json")),
		func(_ context.Context, req mcp.ReadResourceRequest) ([]mcp.ResourceContents, error) {
			id := strings.TrimSuffix(strings.TrimPrefix(req.Params.URI, before), after)
			return []mcp.ResourceContents{text(req.Params.URI, "application/json", fmt.Sprintf(`{"id":%q,"templateTest":true,"data":"Data for ID: %s"}`, id, id))}, nil
		})
}
