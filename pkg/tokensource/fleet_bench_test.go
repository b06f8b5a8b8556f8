package tokensource

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/credstore"
)

// BenchmarkFleet counts the token requests of so many containers of an agent,
// each with a Source of its own and asked once a minute, with tokens of an hour
// and by a clock of its own. A client that fetches a token for each question
// makes as many requests as there are questions. USD are what the requests cost
// in a month at Cognito's first price; large numbers cost less apiece.
// https://aws.amazon.com/cognito/pricing
func BenchmarkFleet(b *testing.B) {
	const (
		hours   = 9       // a Source renews ten times: every 54 minutes
		usd     = 0.00225 // of a token request
		inMonth = 730     // hours
	)
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("containers=%d", n), func(b *testing.B) {
			var requests, questions int
			for b.Loop() {
				now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				i := &hourly{}
				fleet := make([]*Source, n)
				for c := range fleet {
					s, err := New(Config{
						Credentials: Static{ClientID: "id", ClientSecret: credstore.NewSecret("secret"), DiscoveryURL: i.url() + "/.well-known/openid-configuration"},
						Resource:    "https://mcp.example.com/mcp", Transport: i, Now: func() time.Time { return now },
					})
					if err != nil {
						b.Fatal(err)
					}
					fleet[c] = s
				}
				for minute := range (hours + 1) * 60 {
					if minute == 60 { // the first hour is for starting
						requests -= i.posts
					}
					for _, s := range fleet {
						token, err := s.Token(b.Context())
						if err != nil || token.Expiry.Sub(now) < time.Minute {
							b.Fatalf("got a token until %v at %v, %v", token.Expiry, now, err)
						}
						s.settle()
						if minute >= 60 {
							questions++
						}
					}
					now = now.Add(time.Minute)
				}
				requests += i.posts
			}
			perHour := func(count int) float64 { return float64(count) / hours / float64(b.N) }
			b.ReportMetric(perHour(requests), "requests/h")
			b.ReportMetric(perHour(questions), "naive-requests/h")
			b.ReportMetric(float64(requests)/float64(questions), "of-naive")
			b.ReportMetric(perHour(requests)*inMonth*usd, "USD/month")
			b.ReportMetric(perHour(questions)*inMonth*usd, "naive-USD/month")
		})
	}
}

// settle waits for a renewal in the background.
func (s *Source) settle() {
	s.mu.Lock()
	f := s.flight
	s.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

// hourly is an issuer whose tokens last an hour. It counts token requests; one
// is made at a time.
type hourly struct{ posts int }

func (i *hourly) url() string {
	return "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_pool"
}

func (i *hourly) RoundTrip(r *http.Request) (*http.Response, error) {
	body := `{"issuer":"` + i.url() + `","token_endpoint":"https://example.auth.eu-central-1.amazoncognito.com/oauth2/token"}`
	if r.Method == http.MethodPost {
		i.posts++
		body = fmt.Sprintf(`{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, i.posts)
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}
