package calculator

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// MaxDigits is how many digits a whole number may have once it is written out.
const MaxDigits = 5000

// readArguments takes the JSON object input apart into the values of params, in
// their order. Member names count exactly: other names, names that come twice
// and names that are missing are refused.
func readArguments(input json.RawMessage, params []string) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(input))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, refusef("the arguments must be a JSON object with the members %s", strings.Join(params, ", "))
	}
	args := make([]json.RawMessage, len(params))
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, notJSON()
		}
		name, _ := t.(string)
		i := slices.Index(params, name)
		switch {
		case i < 0:
			return nil, refusef("unknown argument %.40q: want %s", name, strings.Join(params, ", "))
		case args[i] != nil:
			return nil, refusef("argument %s is given twice", name)
		}
		if err := dec.Decode(&args[i]); err != nil {
			return nil, notJSON()
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, notJSON()
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, notJSON()
	}
	for i, name := range params {
		if args[i] == nil {
			return nil, refusef("argument %s is missing", name)
		}
	}
	return args, nil
}

func notJSON() error { return refusef("the arguments are not valid JSON") }

// wholeNumber reads a JSON number that is whole, however it is written: 2, 2.0
// and 20e-1 are all two. The digits are counted before the number is expanded,
// so that an exponent costs nothing.
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
	point := -len(fraction) // how many zeros follow the digits; negative: digits behind the point
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
	if len(trimmed)+point > MaxDigits {
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
	return refusef("%s is too large: at most %d digits are possible", name, MaxDigits)
}
