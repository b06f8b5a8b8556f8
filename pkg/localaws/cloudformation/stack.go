// Package cloudformation deploys a CloudFormation template, AWS SAM's
// AWS::Serverless::Function included, into the stand-in of package localaws: the
// user pool, the functions as compiled for Lambda, the custom resources through
// those functions, and the container behind the AgentCore front door, wired as
// `sam deploy` would wire them in an account.
//
//	t, err := cloudformation.Parse(file)
//	...
//	s, err := cloudformation.New(server, cloudformation.Options{Name: "mcp", Programs: "bin"})
//	...
//	defer s.Close()
//	err = s.Deploy(ctx, t, map[string]string{"McpName": "calculator"})
//
// Deploy creates or updates the stack in the order of its dependencies, and goes
// back to where it was when something fails; Delete takes everything down again.
// A template is refused as a whole if it uses anything that could not be deployed
// faithfully: a section, a function, a resource type or a property that is not
// implemented. Types with nothing behind them in the stand-in, such as queues
// and alarms, exist by name with their true attributes, and are among the
// stand-in's Leftovers until they are deleted.
package cloudformation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"agentcore-mcp-auth/pkg/localaws"
)

// Status is the state of a stack or of a resource, in CloudFormation's words.
type Status string

// The states. A resource has those without CLEANUP and ROLLBACK.
const (
	CreateInProgress         Status = "CREATE_IN_PROGRESS"
	CreateComplete           Status = "CREATE_COMPLETE"
	CreateFailed             Status = "CREATE_FAILED"
	RollbackInProgress       Status = "ROLLBACK_IN_PROGRESS"
	RollbackComplete         Status = "ROLLBACK_COMPLETE"
	RollbackFailed           Status = "ROLLBACK_FAILED"
	UpdateInProgress         Status = "UPDATE_IN_PROGRESS"
	UpdateCleanup            Status = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
	UpdateComplete           Status = "UPDATE_COMPLETE"
	UpdateFailed             Status = "UPDATE_FAILED"
	UpdateRollbackInProgress Status = "UPDATE_ROLLBACK_IN_PROGRESS"
	UpdateRollbackCleanup    Status = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"
	UpdateRollbackComplete   Status = "UPDATE_ROLLBACK_COMPLETE"
	UpdateRollbackFailed     Status = "UPDATE_ROLLBACK_FAILED"
	DeleteInProgress         Status = "DELETE_IN_PROGRESS"
	DeleteComplete           Status = "DELETE_COMPLETE"
	DeleteFailed             Status = "DELETE_FAILED"
	DeleteSkipped            Status = "DELETE_SKIPPED" // because of its DeletionPolicy
)

// Event is one step of an operation on a stack.
type Event struct {
	Time       time.Time
	LogicalID  string // the stack's name for the stack itself
	PhysicalID string
	Type       string // AWS::CloudFormation::Stack for the stack itself
	Status     Status
	Reason     string // why, if the state does not say it
}

// stackType is the Type of a stack's own events.
const stackType = "AWS::CloudFormation::Stack"

// Options say where a stack's programs are and where its events go.
type Options struct {
	// Name is the stack's name: a letter, then up to 127 letters, digits or
	// hyphens. Required.
	Name string

	// Programs is the folder of the compiled functions, as make build makes it:
	// the function of CodeUri functions/agent/, or AgentFunction of CodeUri ".",
	// is the folder agent in it, with the program bootstrap and whatever else
	// goes with it. They are copied when they are deployed.
	Programs string

	// Log gets the output of functions and containers while they run. It must be
	// safe for concurrent use. Default: discarded.
	Log io.Writer

	// OnEvent is called with each event, one at a time and in order. It must not
	// call the Stack.
	OnEvent func(Event)
}

// Stack is a stack in a stand-in. One operation runs at a time; its other
// methods are safe for concurrent use.
type Stack struct {
	name, id string
	aws      *localaws.Server
	log      io.Writer
	onEvent  func(Event)

	dir  string // for code and images
	code artefacts
	life context.Context // of the functions
	end  context.CancelFunc

	operation sync.Mutex // held by Deploy, Delete and Close, and guards imports
	imports   []string   // of other stacks' exports, by the last deployment

	mu          sync.Mutex // guards what follows
	status      Status     // empty: never deployed
	parameters  map[string]string
	resources   map[string]*resource // what exists, by logical id
	discarded   []leaving            // what could not be deleted
	outputs     []localaws.StackOutput
	shown       map[string]string // parameters, those with NoEcho masked
	description string
	processes   map[string]*process // of runtimes, by physical id
	policies    policies
}

// resource is what exists under a logical id. It is immutable.
type resource struct {
	logicalID    string
	resourceType string
	kind         resourceType
	properties   map[string]any // evaluated
	dependsOn    []string       // logical ids
	deletion     string
	replacement  string
	made
}

var stackName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{0,127}$`)

// New prepares a stack. The stand-in must have been started. Close the stack
// before the stand-in.
func New(server *localaws.Server, o Options) (*Stack, error) {
	switch {
	case !stackName.MatchString(o.Name):
		return nil, fmt.Errorf("stack name %.140q: want a letter and up to 127 letters, digits or hyphens", o.Name)
	case server.URL() == "":
		return nil, errors.New("the stand-in is not started; call Start first")
	}
	dir, err := os.MkdirTemp("", "stack-"+o.Name+"-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the stack's programs: %w", err)
	}
	s := &Stack{
		name: o.Name, aws: server, log: o.Log, onEvent: o.OnEvent,
		id:  "arn:aws:cloudformation:" + server.AWSConfig().Region + ":" + localaws.Account + ":stack/" + o.Name + "/" + uuid.NewString(),
		dir: dir, code: artefacts{built: o.Programs, root: dir},
		resources: map[string]*resource{}, processes: map[string]*process{},
		policies: policies{own: map[string]localaws.Role{}, attached: map[string]map[string]json.RawMessage{}},
	}
	if s.log == nil {
		s.log = io.Discard
	}
	if s.onEvent == nil {
		s.onEvent = func(Event) {}
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the stack's processes and removes its files. Its resources stay in
// the stand-in; Delete deletes them.
func (s *Stack) Close() error {
	s.operation.Lock()
	defer s.operation.Unlock()
	s.end()
	for _, r := range s.all() {
		if r.resourceType == lambdaFunction {
			s.aws.RemoveFunction(r.id) // waits for its process
		}
	}
	s.mu.Lock()
	processes := slices.Collect(maps.Values(s.processes))
	clear(s.processes)
	s.mu.Unlock()
	for _, p := range processes {
		p.stop()
	}
	return os.RemoveAll(s.dir)
}

// ID is the stack's ARN.
func (s *Stack) ID() string { return s.id }

// Status returns the stack's state, or "" before the first deployment.
func (s *Stack) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Outputs are the template's outputs.
func (s *Stack) Outputs() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for _, o := range s.outputs {
		all[o.Key] = o.Value
	}
	return all
}

// Resource is a resource of a stack.
type Resource struct {
	LogicalID  string
	Type       string
	PhysicalID string
	Attributes map[string]any
}

// Resources lists the stack's resources by logical id.
func (s *Stack) Resources() []Resource {
	var list []Resource
	for _, r := range s.all() {
		list = append(list, Resource{r.logicalID, r.resourceType, r.id, maps.Clone(r.attributes)})
	}
	return list
}

// Function returns the function of a logical id, by its alias if the template
// has one, or nil if there is none.
func (s *Stack) Function(logicalID string) *localaws.Function {
	s.mu.Lock()
	r := s.resources[logicalID]
	s.mu.Unlock()
	if r == nil || r.resourceType != lambdaFunction {
		return nil
	}
	for _, other := range s.all() {
		if other.resourceType == lambdaAlias && other.properties["FunctionName"] == r.id {
			return s.aws.Function(other.id)
		}
	}
	return s.aws.Function(r.id)
}

// all returns the existing resources by logical id.
func (s *Stack) all() []*resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*resource
	for _, id := range slices.Sorted(maps.Keys(s.resources)) {
		list = append(list, s.resources[id])
	}
	return list
}

// find finds a resource of the stack by its type and an attribute, or by its
// physical id when the attribute is "". It returns nil when there is none.
func (s *Stack) find(resourceType, attribute, value string) *resource {
	for _, r := range s.all() {
		if r.resourceType == resourceType && (attribute == "" && r.id == value || attribute != "" && r.attributes[attribute] == value) {
			return r
		}
	}
	return nil
}

// emit reports a step of a resource.
func (s *Stack) emit(r *resource, status Status, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onEvent(Event{time.Now(), r.logicalID, r.id, r.resourceType, status, reason})
}

// enter changes the stack's own state.
func (s *Stack) enter(status Status, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
	if status == DeleteComplete {
		s.aws.RemoveStack(s.name)
	} else {
		s.aws.AddStack(localaws.Stack{ // it refuses only another stack's name, which Deploy has checked
			Name: s.name, ID: s.id, Status: string(status), Description: s.description, Parameters: s.shown, Outputs: s.outputs,
		})
	}
	s.onEvent(Event{time.Now(), s.name, s.id, stackType, status, reason})
}
