package localaws

import (
	"encoding/json"
	"fmt"
	"net/http"
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

// writeError answers with an error in the form that the AWS JSON and REST-JSON
// protocols share: the type in __type and in x-amzn-ErrorType.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func writeError(w http.ResponseWriter, status int, typ, message string) {
	if status == 0 {
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Errortype", typ)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"__type": typ, "message": message})
}
