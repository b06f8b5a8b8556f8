package localaws_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"agentcore-mcp-auth/pkg/localaws"
)

// case 140: STS says who signed, and refuses in its own protocol's words.
func TestGetCallerIdentity(t *testing.T) {
	a := newAccount(t)
	cfg := a.AWSConfig()
	cfg.RetryMaxAttempts, cfg.HTTPClient = 1, bodyInMemory{}
	client := sts.NewFromConfig(cfg)
	out := try(t, client.GetCallerIdentity, &sts.GetCallerIdentityInput{})
	if got, want := *out.Arn+" "+*out.Account+" "+*out.UserId, "arn:aws:iam::000000000000:root 000000000000 000000000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	arn, err := a.AddRole(localaws.Role{Name: "agent", Trust: lambdaTrust})
	if err != nil {
		t.Fatal(err)
	}
	as, err := a.RoleConfig(arn, "me")
	if err != nil {
		t.Fatal(err)
	}
	out = try(t, sts.NewFromConfig(as).GetCallerIdentity, &sts.GetCallerIdentityInput{})
	if *out.Arn != "arn:aws:sts::000000000000:assumed-role/agent/me" || !strings.HasPrefix(*out.UserId, "AROA") || !strings.HasSuffix(*out.UserId, ":me") {
		t.Errorf("a role: got %s %s", *out.Arn, *out.UserId)
	}
	for want, change := range map[string]func(*sts.Options){
		"InvalidClientTokenId":  func(o *sts.Options) { o.Credentials = credentials.NewStaticCredentialsProvider("AKIAX", "y", "") },
		"SignatureDoesNotMatch": func(o *sts.Options) { o.HTTPSignerV4 = shiftedSigner{by: -time.Hour} },
	} {
		if got := refused(t, sts.NewFromConfig(cfg, change).GetCallerIdentity, &sts.GetCallerIdentityInput{}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	a.SetFault(func(localaws.Record) *localaws.Fault {
		return &localaws.Fault{Status: 400, Type: "Throttling", Message: "Rate exceeded"}
	})
	if got := refused(t, client.GetCallerIdentity, &sts.GetCallerIdentityInput{}); got != "Throttling" {
		t.Errorf("a fault: got %s", got)
	}
}

// case 140: what the stand-in does not have is refused by name.
func TestSTS_unknown(t *testing.T) {
	a := newAccount(t)
	for body, want := range map[string]string{
		"Action=AssumeRole&Version=2011-06-15":        "localaws does not implement AssumeRole of STS",
		"Action=GetCallerIdentity&Version=2011-06-15": "MissingAuthenticationToken",
	} {
		resp, err := http.Post(a.URL()+"/", "application/x-www-form-urlencoded", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode < 400 || !strings.Contains(string(text), want) || !strings.Contains(string(text), "https://sts.amazonaws.com/doc/2011-06-15/") {
			t.Errorf("%s: got %d %s, want %s", body, resp.StatusCode, text, want)
		}
	}
}
