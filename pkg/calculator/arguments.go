package calculator

import (
	"bytes"
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// maxDigits is how many digits a whole number may have when written out.
const maxDigits = 5000

// readArguments splits the JSON object input into the values of params, in their
// order. Names must match exactly; unknown, repeated and missing names are
// refused.
func readArguments(input json.RawMessage, params []string) ([]json.RawMessage, error) {
	input = bytes.TrimSpace(input)
	if !json.Valid(input) || input[0] != '{' {
		return nil, refusef("the arguments must be a JSON object with the members %s", strings.Join(params, ", "))
	}
	args := make([]json.RawMessage, len(params))
	for rest := skipSpace(input[1:]); rest[0] != '}'; {
		name, value, next := member(rest)
		i := slices.Index(params, name)
		switch {
		case i < 0:
			return nil, refusef("unknown argument %.40q: want %s", name, strings.Join(params, ", "))
		case args[i] != nil:
			return nil, refusef("argument %s is given twice", name)
		}
		args[i], rest = value, next
	}
	for i, name := range params {
		if args[i] == nil {
			return nil, refusef("argument %s is missing", name)
		}
	}
	return args, nil
}

// member cuts the first member off the inside of a valid JSON object. It works
// on the bytes, because decoding with encoding/json would cost more than the
// rest of a tool call.
func member(b []byte) (name string, value, rest []byte) {
	n := valueLen(b)
	if bytes.IndexByte(b[:n], '\\') < 0 {
		name = string(b[1 : n-1])
	} else {
		json.Unmarshal(b[:n], &name) // valid, so it cannot fail
	}
	b = skipSpace(skipSpace(b[n:])[1:]) // the colon
	n = valueLen(b)
	value, rest = b[:n:n], skipSpace(b[n:])
	if rest[0] == ',' {
		rest = skipSpace(rest[1:])
	}
	return name, value, rest
}

// valueLen returns the length of the value at the start of valid JSON.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // ends a number or a word, and its container
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// wholeNumber reads a JSON number that is whole, in any notation: 2, 2.0 and
// 20e-1 are all two. It counts the digits before it expands the number, so that
// a large exponent costs nothing.
func wholeNumber(name string, raw json.RawMessage) (*big.Int, error) {
	s := string(raw)
	if c := s[0]; c != '-' && (c < '0' || c > '9') {
		return nil, refusef("%s must be a whole number", name)
	}
	s, negative := strings.CutPrefix(s, "-")
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return new(big.Int), nil
	}
	point := -len(fraction) // zeros to append to the digits; negative: digits after the point
	if exponent != "" {
		e, err := strconv.Atoi(exponent)
		if err != nil || e > 1<<30 || e < -1<<30 {
			return nil, outOfRange(name, strings.HasPrefix(exponent, "-"))
		}
		point += e
	}
	trimmed := strings.TrimRight(digits, "0")
	point += len(digits) - len(trimmed)
	if point < 0 {
		return nil, outOfRange(name, true)
	}
	if len(trimmed)+point > maxDigits {
		return nil, outOfRange(name, false)
	}
	n, ok := new(big.Int).SetString(trimmed+strings.Repeat("0", point), 10)
	if !ok {
		return nil, refusef("%s must be a whole number", name)
	}
	if negative {
		n.Neg(n)
	}
	return n, nil
}

func outOfRange(name string, fraction bool) error {
	if fraction {
		return refusef("%s must be a whole number, without a fraction", name)
	}
	return refusef("%s is too large: at most %d digits are possible", name, maxDigits)
}
