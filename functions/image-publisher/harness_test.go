package main_test

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
)

// binaries is a folder with the compiled function and its programs, built once
// for all tests.
var binaries string

func bootstrap() string { return filepath.Join(binaries, "image-publisher", "bootstrap") }

func TestMain(m *testing.M) { testenv.Main(m, &binaries, "functions/image-publisher") }

type world struct {
	*localaws.Server
	f          *localaws.Function
	log        *testenv.Log
	repository string // URI
	role       string // ARN
}

// permissions are what the template gives the function.
const permissions = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
	{"Effect":"Allow","Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:CompleteLayerUpload","ecr:InitiateLayerUpload","ecr:PutImage","ecr:UploadLayerPart"],
	 "Resource":"arn:aws:ecr:eu-central-1:000000000000:repository/stack-images"}]}`

const pulling = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"},
	{"Effect":"Allow","Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Resource":"arn:aws:ecr:eu-central-1:000000000000:repository/stack-images"}]}`

func trust(service string) json.RawMessage {
	return json.RawMessage(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`)
}

// newWorld runs the compiled function under its own role, in an account with one
// repository whose tags are immutable.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: localaws.New(localaws.Config{}), log: &testenv.Log{}}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	var err error
	if w.repository, err = w.AddRepository(localaws.Repository{Name: "stack-images", ImmutableTags: true}); err != nil {
		t.Fatal(err)
	}
	publisher, err := w.AddRole(localaws.Role{Name: "publisher", Trust: trust("lambda.amazonaws.com"), Policies: []json.RawMessage{json.RawMessage(permissions)}})
	if err != nil {
		t.Fatal(err)
	}
	if w.role, err = w.AddRole(localaws.Role{Name: "runtime", Trust: trust("bedrock-agentcore.amazonaws.com"), Policies: []json.RawMessage{json.RawMessage(pulling)}}); err != nil {
		t.Fatal(err)
	}
	w.f, err = w.StartFunction(t.Context(), localaws.FunctionConfig{Name: "image-publisher", Binary: bootstrap(), Timeout: 30 * time.Second, Stderr: w.log, Role: publisher})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// send has CloudFormation send an event. changes are added to the usual
// properties; nil removes one.
func (w *world) send(t *testing.T, typ cfn.RequestType, id string, changes map[string]any) cfn.Response {
	t.Helper()
	properties := map[string]any{
		"ServiceToken": w.f.ARN() + ":live", "ServiceTimeout": "60",
		"RepositoryUri": w.repository, "Binary": "mcp-server", "Version": w.f.ARN() + ":1",
	}
	for k, v := range changes {
		if properties[k] = v; v == nil {
			delete(properties, k)
		}
	}
	event, err := json.Marshal(map[string]any{
		"RequestType": typ, "ResourceType": "Custom::MCPImage", "LogicalResourceId": "McpImage", "PhysicalResourceId": id,
		"StackId": "arn:aws:cloudformation:eu-central-1:000000000000:stack/s/00000000-0000-0000-0000-000000000000", "ResourceProperties": properties,
	})
	if err != nil {
		t.Fatal(err)
	}
	res, reply, err := w.SendCustomResource(t.Context(), w.f, event)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.f.PID(t.Context()); err != nil { // waits until the function is idle
		t.Fatal(err)
	}
	if n := reply.Puts(); n != 1 {
		t.Errorf("%d answers, want 1", n)
	}
	return res
}

// checkSecrets ends the function and checks that what ECR gave it, as it came or
// decoded, is in no log and in no answer to CloudFormation. case 5
func (w *world) checkSecrets(t *testing.T) {
	t.Helper()
	w.f.Close()
	seen, secrets := w.log.String(), 0
	for _, r := range w.Records() {
		if r.Service == "cloudformation" {
			seen += string(r.RequestBody)
		}
	}
	for _, r := range w.Records() {
		token := strings.TrimPrefix(r.RequestHeader.Get("Authorization"), "Basic ")
		if r.Service != "registry" || token == "" {
			continue
		}
		plain, err := base64.StdEncoding.DecodeString(token)
		_, password, ok := strings.Cut(string(plain), ":")
		if err != nil || !ok {
			t.Fatalf("%s %s has no password: %v", r.Method, r.Path, err)
		}
		secrets++
		if strings.Contains(seen, token) || strings.Contains(seen, password) {
			t.Errorf("the password of %s %s is in the log or in an answer", r.Method, r.Path)
		}
	}
	if secrets == 0 {
		t.Error("no request had a password")
	}
}

// pull returns an image's port and the number of bytes to download.
func (w *world) pull(t *testing.T, uri string) (port string, size int64) {
	t.Helper()
	out, err := ecr.NewFromConfig(w.AWSConfig()).GetAuthorizationToken(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(*out.AuthorizationData[0].ProxyEndpoint, "http://") + uri[strings.Index(uri, "/"):])
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Auth: *out.AuthorizationData[0].AuthorizationToken})))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for p := range file.Config.ExposedPorts {
		port = strings.TrimSuffix(p, "/tcp")
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return port, size
}
