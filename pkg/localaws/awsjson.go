package localaws

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// apiError is an error in a service's own words. Type is the name of the
// exception in the service's API model.
type apiError struct {
	Status  int // 0 means 400, what the AWS JSON protocol uses for every client error
	Type    string
	Message string
}

func (e *apiError) Error() string { return e.Type + ": " + e.Message }

// errorf makes a 400 of the given exception type.
func errorf(typ, format string, args ...any) *apiError {
	return &apiError{Type: typ, Message: fmt.Sprintf(format, args...)}
}

// unimplemented refuses what the stand-in does not implement, although the
// service may. No service has this error, and no SDK retries its status.
func unimplemented(format string, args ...any) *apiError {
	return &apiError{http.StatusNotImplemented, "UnknownMemberException", "localaws does not implement " + fmt.Sprintf(format, args...)}
}

// writeError answers with an error in the form that the AWS JSON and REST-JSON
// protocols share: the type in __type and in x-amzn-ErrorType.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func writeError(w http.ResponseWriter, e *apiError) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Errortype", e.Type)
	w.WriteHeader(cmp.Or(e.Status, http.StatusBadRequest))
	json.NewEncoder(w).Encode(map[string]string{"__type": e.Type, "message": e.Message})
}

// operation serves one operation of an AWS JSON 1.1 service. The answer is
// encoded as JSON; nil is the empty object.
type operation func(r *http.Request, body []byte) (any, *apiError)

// op makes an operation of f, whose input type names every member that the
// stand-in implements. f runs with mu held.
func op[In any](mu sync.Locker, f func(*In) (any, *apiError)) operation {
	return opFrom(mu, func(_ *http.Request, in *In) (any, *apiError) { return f(in) })
}

// opFrom is op for an f that also needs the request, to know who signed it.
func opFrom[In any](mu sync.Locker, f func(*http.Request, *In) (any, *apiError)) operation {
	return func(r *http.Request, body []byte) (any, *apiError) {
		in := new(In)
		if err := decode(body, in); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		return f(r, in)
	}
}

// serveJSON serves one AWS JSON 1.1 request: a POST to / of the protocol's own
// content type, to an operation in ops.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func serveJSON(w http.ResponseWriter, r *http.Request, rec *Record, ops map[string]operation) {
	serve, known := ops[rec.Operation]
	if !known {
		refuse(w, r, rec)
		return
	}
	if err := checkProtocol(r, "application/x-amz-json-1.1"); err != nil {
		writeError(w, err)
		return
	}
	out, err := serve(r, rec.RequestBody)
	if err != nil {
		writeError(w, err)
		return
	}
	if out == nil {
		out = struct{}{}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(out)
}

func checkProtocol(r *http.Request, want string) *apiError {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || r.URL.Path != "/" || media != want {
		return errorf("SerializationException", "want a POST to / with Content-Type %s", want)
	}
	return nil
}

// decode reads a request into the struct that v points to. Members are matched
// exactly; one that the struct does not have is refused by name, because a
// setting that is silently ignored here would take effect in an account.
func decode(body []byte, v any) *apiError {
	if err := checkMembers(body, reflect.TypeOf(v), ""); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		var typeErr *json.UnmarshalTypeError
		if errors.As(err, &typeErr) {
			return errorf("SerializationException", "%s cannot be a JSON %s", typeErr.Field, typeErr.Value)
		}
		return errorf("SerializationException", "the request is not JSON")
	}
	return nil
}

// checkMembers refuses the first member of raw, at any depth, that t has no
// field for, and every member that occurs twice. Values whose JSON type does
// not fit are left for json.Unmarshal to refuse.
func checkMembers(raw json.RawMessage, t reflect.Type, path string) *apiError {
	switch t.Kind() {
	case reflect.Pointer:
		return checkMembers(raw, t.Elem(), path)
	case reflect.Slice:
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return nil
		}
		for i, item := range items {
			if err := checkMembers(item, t.Elem(), path+"["+strconv.Itoa(i)+"]"); err != nil {
				return err
			}
		}
	case reflect.Struct:
		fields := map[string]reflect.Type{}
		for _, f := range reflect.VisibleFields(t) {
			if !f.Anonymous {
				fields[f.Name] = f.Type
			}
		}
		return eachMember(raw, func(name string, value json.RawMessage) *apiError {
			member := strings.TrimPrefix(path+"."+name, ".")
			ft, ok := fields[name]
			if !ok {
				return unimplemented("member %s", member)
			}
			return checkMembers(value, ft, member)
		})
	}
	return nil
}

// eachMember calls f with each member of the JSON object raw, and refuses a
// member that occurs twice. Anything but an object has no members.
func eachMember(raw json.RawMessage, f func(name string, value json.RawMessage) *apiError) *apiError {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil
		}
		if seen[name] {
			return errorf("SerializationException", "member %s occurs twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// epoch is a time as the AWS JSON protocol writes it: seconds since 1970, with
// milliseconds as the fraction.
type epoch time.Time

func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Time(e).UnixMilli())/1000, 'f', -1, 64), nil
}

// textRule is the rule of a service's API model for a string member. The models
// are published with the SDKs.
type textRule struct {
	typ      string // exception type when it is broken
	min, max int    // in characters
	pattern  *regexp.Regexp
}

// check refuses a value that breaks the rule. It names the member and never the
// value, which may be a secret.
func (t textRule) check(member, value string) *apiError {
	switch n := utf8.RuneCountInString(value); {
	case n < t.min && n == 0:
		return errorf(t.typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must not be null or empty", member)
	case n < t.min:
		return errorf(t.typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", member, t.min)
	case n > t.max:
		return errorf(t.typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, t.max)
	case n > 0 && t.pattern != nil && !t.pattern.MatchString(value):
		return errorf(t.typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", member, t.pattern)
	}
	return nil
}

// checkOptional is check for a member that may be absent.
func (t textRule) checkOptional(member string, value *string) *apiError {
	if value == nil {
		return nil
	}
	return t.check(member, *value)
}

// checkEnum refuses a value that is set and is not one of allowed.
func checkEnum(typ, member, value string, allowed ...string) *apiError {
	if value == "" {
		return nil
	}
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return errorf(typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must satisfy enum value set: [%s]", member, strings.Join(allowed, ", "))
}

// checkRange refuses a number that is set and outside min..max.
func checkRange(typ, member string, value *int32, min, max int32) *apiError {
	if value != nil && (*value < min || *value > max) {
		return errorf(typ, "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must have value between %d and %d", member, min, max)
	}
	return nil
}

// page cuts one page out of items, which are in the order of their keys. The
// token is opaque to the caller and stays valid when items come and go. It
// belongs to one scope: an operation and its input. ok is false for a token that
// was not made for this scope.
func page[T any](items []T, key func(T) string, scope string, token *string, max int) (out []T, next *string, ok bool) {
	start := 0
	if token != nil {
		raw, err := base64.RawURLEncoding.DecodeString(*token)
		last, mine := strings.CutPrefix(string(raw), scope+"\n")
		if err != nil || !mine {
			return nil, nil, false
		}
		for start < len(items) && key(items[start]) <= last {
			start++
		}
	}
	items = items[start:]
	if len(items) > max {
		items = items[:max]
		t := base64.RawURLEncoding.EncodeToString([]byte(scope + "\n" + key(items[max-1])))
		next = &t
	}
	return items, next, true
}
