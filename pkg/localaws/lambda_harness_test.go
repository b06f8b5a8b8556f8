package localaws_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"agentcore-mcp-auth/internal/testenv"
	"agentcore-mcp-auth/pkg/localaws"
)

var programs string // a folder for the programs of these tests

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "localaws"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

// buildBootstrap compiles testdata/bootstrap, once for all tests that want it.
var buildBootstrap = sync.OnceValue(func() string {
	bin := filepath.Join(programs, "bootstrap")
	testenv.Build(bin, "pkg/localaws/testdata/bootstrap")
	return bin
})

func startServer(t *testing.T) *localaws.Server {
	t.Helper()
	s := localaws.New(localaws.Config{})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func startFunction(t *testing.T, s *localaws.Server, cfg localaws.FunctionConfig) *localaws.Function {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "agent"
	}
	f, err := s.StartFunction(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func do(what string) []byte { return fmt.Appendf(nil, `{"do":%q}`, what) }

func mustInvoke(t *testing.T, f *localaws.Function, event []byte) localaws.Result {
	t.Helper()
	res, err := f.Invoke(t.Context(), event)
	if err != nil {
		t.Fatalf("Invoke(%s): %v", event, err)
	}
	return res
}

// like compares with a pattern that has at most one *.
func like(got, pattern string) bool {
	before, after, star := strings.Cut(pattern, "*")
	return got == pattern || star && strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
}

// signRequest signs req as the AWS SDKs would, with the account's credentials.
func signRequest(t *testing.T, req *http.Request, body []byte, service string) {
	t.Helper()
	signRequestAs(t, aws.Credentials{AccessKeyID: localaws.AccessKeyID, SecretAccessKey: localaws.SecretAccessKey}, req, body, service)
}

func signRequestAs(t *testing.T, creds aws.Credentials, req *http.Request, body []byte, service string) {
	t.Helper()
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, hex.EncodeToString(hash[:]), service, "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
}
