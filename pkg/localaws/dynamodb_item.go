package localaws

import (
	"encoding/json"
	"maps"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// item is an item of a table. It is immutable: a change replaces it as a whole.
type item map[string]attributeValue

// attributeValue is the value of one attribute, with exactly one member set. The
// other types of DynamoDB are not implemented.
// https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
type attributeValue struct {
	S    *string `json:",omitempty"`
	N    *string `json:",omitempty"`
	B    *[]byte `json:",omitempty"`
	BOOL *bool   `json:",omitempty"`
}

// wholeNumber matches a number without fraction or exponent, with no more digits
// than DynamoDB keeps exactly.
var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,37})$`)

// readItem reads a map of attributes; each names its type.
func readItem(raw json.RawMessage, member string) (item, *apiError) {
	if trimmed := strings.TrimSpace(string(raw)); !strings.HasPrefix(trimmed, "{") {
		return nil, errorf("ValidationException", "1 validation error detected: Value at '%s' failed to satisfy constraint: Member must be a map of attributes", member)
	}
	it := item{}
	err := eachMember(raw, func(name string, value json.RawMessage) *apiError {
		var a attributeValue
		if err := decode(value, &a); err != nil {
			return err
		}
		set := 0
		for _, is := range []bool{a.S != nil, a.N != nil, a.B != nil, a.BOOL != nil} {
			if is {
				set++
			}
		}
		switch {
		case name == "" || len(name) > maxAttributeName:
			return errorf("ValidationException", "%s has an attribute whose name has not 1 to %d bytes", member, maxAttributeName)
		case set == 0:
			return errorf("ValidationException", "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
		case set > 1:
			return errorf("ValidationException", "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
		case a.N != nil && !wholeNumber.MatchString(*a.N):
			return unimplemented("numbers other than whole ones of up to 38 digits, as in %s", name)
		}
		it[name] = a
		return nil
	})
	return it, err
}

// key returns the value of an item's key.
func (t *table) key(it item) (string, *apiError) {
	a, ok := it[t.HashKey]
	switch {
	case !ok:
		return "", errorf("ValidationException", "One or more parameter values were invalid: Missing the key %s in the item", t.HashKey)
	case a.S == nil:
		return "", errorf("ValidationException", "One or more parameter values were invalid: Type mismatch for key %s expected: S", t.HashKey)
	case *a.S == "":
		return "", errorf("ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", t.HashKey)
	case len(*a.S) > maxKey:
		return "", errorf("ValidationException", "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of%d bytes", maxKey)
	}
	return *a.S, nil
}

// latestTTL is in the year 5138. A later time was probably not given in seconds.
const latestTTL = 100_000_000_000

// check refuses an item that is too large, and one whose time to live the
// service would silently ignore.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-before-you-start.html
func (t *table) check(it item) *apiError {
	size := 0
	for name, a := range it {
		size += len(name) + a.size()
	}
	if size > maxItem {
		return errorf("ValidationException", "Item size has exceeded the maximum allowed size")
	}
	a, ok := it[t.TTLAttribute]
	if !ok {
		return nil
	}
	if a.N == nil || strings.HasPrefix(*a.N, "-") || a.number().Cmp(big.NewInt(latestTTL)) > 0 {
		return unimplemented("a time to live in %s that is not a number of seconds since 1970", t.TTLAttribute)
	}
	return nil
}

// How long after its time an item is deleted, and how old a time must be to be
// taken for a mistake.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
const (
	ttlDelay = 48 * time.Hour
	ttlLimit = 5 * 365 * 24 * time.Hour
)

// put stores an item. Now and then it deletes items whose time is long over.
func (t *table) put(key string, it item, now time.Time) {
	t.items[key] = it
	if len(t.items) < t.sweep {
		return
	}
	maps.DeleteFunc(t.items, func(_ string, it item) bool {
		a, ok := it[t.TTLAttribute]
		if !ok {
			return false
		}
		over := now.Sub(time.Unix(a.number().Int64(), 0))
		return over > ttlDelay && over < ttlLimit
	})
	t.sweep = max(maxRecords, 2*len(t.items))
}

// size returns what an attribute's value counts towards an item's size.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func (a attributeValue) size() int {
	switch {
	case a.S != nil:
		return len(*a.S)
	case a.B != nil:
		return len(*a.B)
	case a.N != nil:
		return (len(*a.N)+1)/2 + 1
	}
	return 1
}

func (a attributeValue) number() *big.Int {
	n, _ := new(big.Int).SetString(*a.N, 10) // readItem has checked the digits
	return n
}

// kind returns the name of an attribute's type.
func (a attributeValue) kind() string {
	switch {
	case a.S != nil:
		return "S"
	case a.N != nil:
		return "N"
	case a.B != nil:
		return "B"
	}
	return "BOOL"
}

// compare orders attributes of one type. comparable is false for different
// types, and for different truth values.
func (a attributeValue) compare(b attributeValue) (order int, comparable bool) {
	if a.kind() != b.kind() {
		return 0, false
	}
	switch a.kind() {
	case "S":
		return strings.Compare(*a.S, *b.S), true
	case "N":
		return a.number().Cmp(b.number()), true
	case "B":
		return strings.Compare(string(*a.B), string(*b.B)), true
	}
	return 0, *a.BOOL == *b.BOOL
}
