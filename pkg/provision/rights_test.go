package provision_test

import (
	"testing"
	"time"

	"agentcore-mcp-auth/pkg/localaws"
)

// Permissions that the deployment has just given may not be effective everywhere
// yet. Permissions that never come fail the resource in good time.
func TestHandle_rightsComeLate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		late    time.Duration
		service string
		want    string // in the error; empty: none
	}{
		{"Cognito's", 10 * time.Second, "cognito-idp", ""},
		{"Parameter Store's", 10 * time.Second, "ssm", ""},
		{"never", time.Hour, "ssm", "AccessDeniedException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			start := w.time()
			w.aws.SetFault(func(r localaws.Record) *localaws.Fault {
				if r.Service == tt.service && w.time().Before(start.Add(tt.late)) {
					return &localaws.Fault{Status: 400, Type: "AccessDeniedException", Message: "is not authorized to perform"}
				}
				return nil
			})
			if tt.want == "" {
				w.must(create(properties(w.pool, nil)))
				w.working(path)
				return
			}
			w.refused(create(properties(w.pool, nil)), tt.want)
			if took := w.time().Sub(start); took > 30*time.Second {
				t.Errorf("gave up after %s", took)
			}
		})
	}
}
