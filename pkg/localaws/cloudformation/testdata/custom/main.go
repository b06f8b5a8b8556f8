// Custom is a custom resource for tests. Its properties say what becomes of a
// request: Id is the physical id to answer with, Fail the request types to fail,
// Silent those to give no answer to, Data the attributes. Each request is one
// line in the file REQUESTS.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	wrapped := cfn.LambdaWrap(handle)
	lambda.Start(func(ctx context.Context, e cfn.Event) (string, error) {
		line, err := json.Marshal(map[string]any{
			"type": e.RequestType, "id": e.PhysicalResourceID, "name": e.LogicalResourceID, "stack": e.StackID,
			"properties": e.ResourceProperties, "old": e.OldResourceProperties,
		})
		if err != nil {
			return "", err
		}
		if err := record(line); err != nil {
			return "", err
		}
		if says(e, "Silent") {
			return "", errors.New("no answer")
		}
		return wrapped(ctx, e)
	})
}

func record(line []byte) error {
	f, err := os.OpenFile(os.Getenv("REQUESTS"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// says reports whether a property names the request's type.
func says(e cfn.Event, property string) bool {
	text, _ := e.ResourceProperties[property].(string)
	return strings.Contains(text, string(e.RequestType))
}

func handle(_ context.Context, e cfn.Event) (string, map[string]any, error) {
	id, _ := e.ResourceProperties["Id"].(string)
	if id == "" || e.RequestType == cfn.RequestDelete {
		id = e.PhysicalResourceID
	}
	if id == "" {
		id = "id-of-" + e.LogicalResourceID
	}
	data, _ := e.ResourceProperties["Data"].(map[string]any)
	if says(e, "Fail") {
		return id, nil, errors.New("as it was told to")
	}
	return id, data, nil
}
