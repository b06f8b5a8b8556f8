package toolbox_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"agentcore-mcp-auth/pkg/toolbox"
)

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

func textLogger(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// case 65
func TestResult(t *testing.T) {
	fetched := (&fake{}).serve(t)
	image := strings.Repeat("A", 4<<20)
	for _, tt := range []struct {
		name, result string
		want         toolbox.Result
	}{
		{"text", `{"content":[{"type":"text","text":"4"}]}`, toolbox.Result{Text: "4"}},
		{"texts", `{"content":[{"type":"text","text":"4"},{"type":"text","text":"5"}]}`, toolbox.Result{Text: "4\n5"}},
		{"an error", `{"content":[{"type":"text","text":"no"}],"isError":true}`, toolbox.Result{Text: "no", IsError: true}},
		{"an error without words", `{"content":[],"isError":true}`, toolbox.Result{Text: "(the tool answered nothing)", IsError: true}},
		{"nothing", `{}`, toolbox.Result{Text: "(the tool answered nothing)"}},
		{"empty content", `{"content":[]}`, toolbox.Result{Text: "(the tool answered nothing)"}},
		{"empty text", `{"content":[{"type":"text","text":""}]}`, toolbox.Result{Text: "(the tool answered nothing)"}},
		{"null content", `{"content":null,"structuredContent":null}`, toolbox.Result{Text: "(the tool answered nothing)"}},
		{"structured", `{"content":[],"structuredContent":{"sum": 12345678901234567890.10}}`, toolbox.Result{Text: `{"sum": 12345678901234567890.10}`}},
		{"structured and text", `{"content":[{"type":"text","text":"4"}],"structuredContent":{"sum":4}}`, toolbox.Result{Text: "4"}},
		{"an image", `{"content":[{"type":"image","mimeType":"image/png","data":"` + image + `"}]}`, toolbox.Result{Text: "[image, image/png, about 3145728 bytes, not shown]"}},
		{"sound", `{"content":[{"type":"audio","mimeType":"audio/wav","data":"AAAA"}]}`, toolbox.Result{Text: "[audio, audio/wav, about 3 bytes, not shown]"}},
		{"a link", `{"content":[{"type":"resource_link","name":"page","uri":"` + fetched + `"}]}`, toolbox.Result{Text: "[link to page " + fetched + ", not fetched]"}},
		{"a resource's text", `{"content":[{"type":"resource","resource":{"uri":"file:///etc/passwd","text":"root"}}]}`, toolbox.Result{Text: "[resource file:///etc/passwd]\nroot"}},
		{"a resource's bytes", `{"content":[{"type":"resource","resource":{"uri":"file:///x","mimeType":"a/b","blob":"AAAA"}}]}`, toolbox.Result{Text: "[resource file:///x, a/b, about 3 bytes, not shown]"}},
		{"what nobody knows", `{"content":[{"type":"hologram\n","x":1},{"type":"text","text":"4"}]}`, toolbox.Result{Text: "[content of type \"hologram\", not shown]\n4"}},
		{"complete, of the newer era", `{"resultType":"complete","content":[{"type":"text","text":"4"}]}`, toolbox.Result{Text: "4"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool { x.result(tt.result); return true }}}
			if got, err := connect(t, f).Call(t.Context(), "add", nil); err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// case 65: a long result is cut between characters and says so.
func TestResult_cut(t *testing.T) {
	for _, letter := range []string{"a", "é", "日", "🙂"} {
		text := "x" + strings.Repeat(letter, 200_000)
		quoted, _ := json.Marshal(text)
		f := &fake{on: map[string]func(*exchange) bool{"tools/call": func(x *exchange) bool {
			x.result(`{"content":[{"type":"text","text":` + string(quoted) + `}]}`)
			return true
		}}}
		got, err := connect(t, f).Call(t.Context(), "add", nil)
		kept, notice, _ := strings.Cut(got.Text, "\n")
		if err != nil || !strings.HasPrefix(text, kept) || len(kept) > 128<<10 || len(kept) < 128<<10-4 || !utf8.ValidString(got.Text) || !strings.HasPrefix(notice, "[cut: the result has ") {
			t.Errorf("%s: %d bytes kept, notice %q, %v", letter, len(kept), notice, err)
		}
	}
}
