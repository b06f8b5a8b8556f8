package provision

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// A lock is a parameter that says who holds it and until when. Parameter Store
// creates a parameter once or not at all. The run that creates it has the lock,
// and releases it by deleting it. A lock is never overwritten, because then
// nothing would show who was first.
//
// A run that finds an expired lock may delete it for the holder. If two runs do
// so, the slower one must not delete a lock that was taken in the meantime. So
// it is done under a second lock, after another look.
type lockValue struct {
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
}

const (
	// lockTime is for holders without a deadline: the longest timeout of a
	// Lambda function.
	lockTime = 15 * time.Minute
	// releaseTime bounds the release of a lock, even after the context has
	// ended.
	releaseTime = 2 * time.Second
	// lockMargin allows for the release, and for clocks that differ.
	lockMargin = releaseTime + 3*time.Second
	// evicting ends the name of the second lock, under which an expired lock is
	// deleted. No server's name has a dot.
	evicting = ".evict"
)

func (p *Provisioner) lockPath(key string) string { return p.prefix() + "/.lock/" + key }

// poolLock returns the key of the lock under which the owner's pool is made and
// removed. It ends in a dot, which no server's name has.
func (p *Provisioner) poolLock() string { return "pool-" + shortHash(p.poolKey()) + "." }

// lock waits for the lock until ctx ends, and takes it until the context's
// deadline and a little longer. unlock releases it and may be called after ctx
// has ended.
func (p *Provisioner) lock(ctx context.Context, key string) (unlock func(), err error) {
	name := p.lockPath(key)
	holder := rand.Text() // the same in each attempt: one whose answer was lost may take effect late
	for attempt := 0; ; attempt++ {
		until, ok := ctx.Deadline()
		if !ok {
			until = p.now().Add(lockTime)
		}
		mine := lockValue{Holder: holder, Until: until.Add(lockMargin)}
		held, busy, err := p.tryLock(ctx, name, mine)
		if err != nil {
			if ctx.Err() != nil { // the lock may have been taken all the same
				p.unlock(ctx, name, holder)
			}
			return nil, fmt.Errorf("taking lock %s: %w", name, err)
		}
		if held {
			return func() { p.unlock(ctx, name, holder) }, nil
		}
		if attempt == 3 { // it is not a matter of a moment
			p.logger().Warn("waiting for another run", "lock", name, "until", busy.Until.Format(time.RFC3339))
		}
		if err := p.wait(ctx, p.backoff(min(attempt, 3))); err != nil {
			return nil, fmt.Errorf("waiting for lock %s, which another run holds until %s: %w", name, busy.Until.Format(time.RFC3339), err)
		}
	}
}

// tryLock tries once. If somebody else has the lock, it returns who.
func (p *Provisioner) tryLock(ctx context.Context, name string, mine lockValue) (held bool, busy lockValue, err error) {
	text, err := json.Marshal(mine)
	if err != nil {
		return false, busy, err
	}
	_, putErr := p.SSM.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(name), Value: aws.String(string(text)), Type: types.ParameterTypeString, Overwrite: aws.Bool(false),
	}, p.sentToSSMOnce)
	if putErr == nil {
		return true, mine, nil
	}
	if !is[*types.ParameterAlreadyExists](putErr) && !unknownOutcome(putErr) {
		return false, busy, putErr
	}
	seen, there, err := p.readLock(ctx, name)
	switch {
	case err != nil || !there:
		return false, lockValue{Until: p.now()}, err
	case seen.Holder == mine.Holder: // the answer was lost
		return true, mine, nil
	case p.now().Before(seen.Until):
		return false, seen, nil
	}
	if held, busy, err = p.tryLock(ctx, name+evicting, mine); !held {
		return false, busy, err
	}
	defer p.unlock(ctx, name+evicting, mine.Holder)
	seen, there, err = p.readLock(ctx, name)
	if err == nil && there && !p.now().Before(seen.Until) {
		err = p.freeLock(ctx, name, seen.Holder)
	}
	if err != nil {
		return false, seen, err
	}
	return p.tryLock(ctx, name, mine)
}

// readLock reads the lock.
func (p *Provisioner) readLock(ctx context.Context, name string) (v lockValue, there bool, err error) {
	out, err := p.SSM.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	if is[*types.ParameterNotFound](err) {
		return v, false, nil
	}
	if err != nil {
		return v, false, err
	}
	return parseLock(aws.ToString(out.Parameter.Value)), true, nil
}

// parseLock reads a lock's value. The time of one that is illegible is over.
func parseLock(text string) (v lockValue) {
	if json.Unmarshal([]byte(text), &v) != nil {
		return lockValue{}
	}
	return v
}

// freeLock deletes the lock if it is still the holder's, and the second lock if
// a dead run left it. If the answer to a request was lost, it looks before it
// repeats the request: somebody else may have the lock by then.
func (p *Provisioner) freeLock(ctx context.Context, name, holder string) error {
	type done struct{}
	_, err := once(ctx, p, func() (*done, error) {
		seen, there, err := p.readLock(ctx, name)
		if err != nil || !there || seen.Holder != holder {
			return nil, err
		}
		_, err = p.SSM.DeleteParameters(ctx, lockNames(name), p.sentToSSMOnce)
		return nil, err
	}, func() (*done, error) { return nil, nil })
	return err
}

// unlock releases a lock if it is still the holder's. It ignores errors: a lock
// that is not released expires.
func (p *Provisioner) unlock(ctx context.Context, name, holder string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err := p.freeLock(ctx, name, holder); err != nil {
		p.logger().Warn("giving back a lock", "lock", name, "error", err)
	}
}

// dropLock removes a lock together with what it guarded, whoever left it.
func (p *Provisioner) dropLock(ctx context.Context, key string) error {
	_, err := p.SSM.DeleteParameters(ctx, lockNames(p.lockPath(key)))
	if err != nil {
		return fmt.Errorf("deleting lock %s: %w", p.lockPath(key), err)
	}
	return nil
}

// clearLock removes a lock whose time is over as one who waits for it would: by
// taking it. One that was taken meanwhile stays.
func (p *Provisioner) clearLock(ctx context.Context, key string) error {
	name := p.lockPath(key)
	mine := lockValue{Holder: rand.Text(), Until: p.now().Add(lockMargin)}
	held, _, err := p.tryLock(ctx, name, mine)
	if held {
		err = p.freeLock(ctx, name, mine.Holder)
	}
	return err
}

func lockNames(name string) *ssm.DeleteParametersInput {
	return &ssm.DeleteParametersInput{Names: []string{name, name + evicting}}
}

func (p *Provisioner) sentToSSMOnce(o *ssm.Options) { o.Retryer = p.retryer(unrepeatable) }
