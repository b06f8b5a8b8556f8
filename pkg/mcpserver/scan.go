package mcpserver

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Limits of the JSON that is taken in.
const (
	maxDepth  = 64      // arrays and objects inside each other
	maxValues = 100_000 // values of any kind: decoded, each takes many times its length
	maxNumber = 10_000  // digits of a number once its exponent is written out
	maxZeros  = 1 << 20 // what the exponents beyond those of float64 add up to
	maxName   = 128     // characters of a method's or a tool's name
)

// syntaxError is JSON that is not taken in, with the place where that shows.
type syntaxError struct {
	reason string
	at     int
}

func (e *syntaxError) Error() string {
	return e.reason + " at byte " + strconv.Itoa(e.at)
}

// scanner walks over one JSON text (RFC 8259) without building anything. It is
// stricter than encoding/json: no member twice in an object, no half of a
// surrogate pair, no invalid UTF-8, and bounded depth.
type scanner struct {
	b      []byte
	i      int
	depth  int
	values int        // walked over so far
	names  [][]byte   // member names of the objects that are open, innermost last
	few    [12][]byte // where names starts

	overflow [][2]int // where numbers were met that float64 cannot hold
	oversize bool     // a number, or what exponents add up to, goes over maxNumber or maxZeros
	zeros    int
}

func (s *scanner) fail(reason string) error { return &syntaxError{reason, s.i} }

// space skips insignificant whitespace and returns the next byte, or 0 at the
// end of the text, where a literal 0 would be refused just the same.
func (s *scanner) space() byte {
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// value walks over one value of any kind.
func (s *scanner) value() error {
	if s.values++; s.values > maxValues {
		return s.fail("there are more than " + strconv.Itoa(maxValues) + " JSON values")
	}
	switch c := s.space(); {
	case c == '{':
		return s.object(nil)
	case c == '[':
		return s.array()
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(word)) {
			s.i += len(word)
			return nil
		}
	}
	return s.fail("a JSON value is missing or malformed")
}

func (s *scanner) open() error {
	if s.depth++; s.depth > maxDepth {
		return s.fail("JSON is nested more than " + strconv.Itoa(maxDepth) + " levels deep")
	}
	s.i++
	return nil
}

func (s *scanner) close() {
	s.depth--
	s.i++
}

// object walks over an object whose opening brace is next. member is called
// with each member's name, escapes resolved, when its value is next, and must
// walk over that value; nil walks over values of any kind.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.open(); err != nil {
		return err
	}
	if s.names == nil {
		s.names = s.few[:0]
	}
	base := len(s.names)
	defer func() { s.names = s.names[:base] }()
	var seen map[string]bool // takes over from comparing one by one in large objects
	if s.space() == '}' {
		s.close()
		return nil
	}
	for {
		if s.space() != '"' {
			return s.fail("a member name is missing")
		}
		raw, err := s.str()
		if err != nil {
			return err
		}
		name := unquote(raw)
		if seen, err = s.remember(name, base, seen); err != nil {
			return err
		}
		if s.space() != ':' {
			return s.fail("a colon is missing")
		}
		s.i++
		if member == nil {
			err = s.value()
		} else {
			err = member(name)
		}
		if err != nil {
			return err
		}
		switch s.space() {
		case ',':
			s.i++
		case '}':
			s.close()
			return nil
		default:
			return s.fail("a comma or a closing brace is missing")
		}
	}
}

// remember refuses a name that its object already has. The names of the object
// are s.names from base on, and once there are many, also in the set it returns.
func (s *scanner) remember(name []byte, base int, seen map[string]bool) (map[string]bool, error) {
	const many = 16
	if seen == nil && len(s.names)-base >= many {
		seen = make(map[string]bool, 4*many)
		for _, n := range s.names[base:] {
			seen[string(n)] = true
		}
	}
	twice := seen[string(name)]
	if seen == nil {
		for _, n := range s.names[base:] {
			twice = twice || bytes.Equal(n, name)
		}
		s.names = append(s.names, name)
	} else {
		seen[string(name)] = true
	}
	if twice {
		return seen, s.fail("a member name comes twice in one object")
	}
	return seen, nil
}

func (s *scanner) array() error {
	if err := s.open(); err != nil {
		return err
	}
	if s.space() == ']' {
		s.close()
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		switch s.space() {
		case ',':
			s.i++
		case ']':
			s.close()
			return nil
		default:
			return s.fail("a comma or a closing bracket is missing")
		}
	}
}

// str walks over a string whose opening quote is next and returns it with its
// quotes. That the text is valid UTF-8 has been checked before.
func (s *scanner) str() ([]byte, error) {
	start := s.i
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start:s.i], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.fail("a control character stands in a string")
		}
	}
	return nil, s.fail("a string has no end")
}

// escape walks over an escape sequence up to its last byte.
func (s *scanner) escape() error {
	if s.i++; s.i >= len(s.b) {
		return s.fail("a string has no end")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
	default:
		return s.fail("an escape sequence is unknown")
	}
	r, ok := hex4(s.b[s.i+1:])
	if !ok {
		return s.fail("an escape sequence is malformed")
	}
	s.i += 4
	switch {
	case r >= 0xDC00 && r <= 0xDFFF:
		return s.fail("half of a surrogate pair stands alone")
	case r >= 0xD800 && r <= 0xDBFF:
		rest := s.b[s.i+1:]
		if len(rest) < 2 || rest[0] != '\\' || rest[1] != 'u' {
			return s.fail("half of a surrogate pair stands alone")
		}
		if low, ok := hex4(rest[2:]); !ok || low < 0xDC00 || low > 0xDFFF {
			return s.fail("half of a surrogate pair stands alone")
		}
		s.i += 6
	}
	return nil
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number walks over a number and notes whether it can be decoded and expanded.
func (s *scanner) number() error {
	start := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	whole := s.digits()
	if whole == 0 || whole > 1 && s.b[s.i-whole] == '0' {
		return s.fail("a number is malformed")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return s.fail("a number is malformed")
		}
	}
	exponent := 0
	if s.i < len(s.b) && s.b[s.i]|0x20 == 'e' {
		s.i++
		from := s.i
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return s.fail("a number is malformed")
		}
		var err error
		if exponent, err = strconv.Atoi(string(s.b[from:s.i])); err != nil || exponent > maxNumber || exponent < -maxNumber {
			s.overflow, s.oversize = append(s.overflow, [2]int{start, s.i}), true
			return nil
		}
	}
	if whole+exponent > 308 { // the largest float64 is just under 1.8e308
		s.overflow = append(s.overflow, [2]int{start, s.i})
	}
	if exponent = max(exponent, -exponent); exponent > 400 {
		s.zeros += exponent
	}
	s.oversize = s.oversize || s.i-start+exponent > maxNumber || s.zeros > maxZeros
	return nil
}

func (s *scanner) digits() (n int) {
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// unquote returns what a string that str has accepted stands for.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var v string
	json.Unmarshal(raw, &v) // cannot fail: str has accepted it
	return []byte(v)
}

// newScanner starts on b, which must be valid UTF-8 without a byte order mark.
func newScanner(b []byte) (*scanner, error) {
	s := &scanner{b: b}
	if !utf8.Valid(b) {
		return nil, s.fail("the text is not valid UTF-8")
	}
	return s, nil
}
