package signals

import (
	"os"
	"reflect"
	"slices"
	"sync"
)

// An intake turns what os/signal sends into a queue in which each signal waits at most once.
//
// Package os/signal drops a signal if the channel for it is full. So each signal has a channel of its own with room for
// one: it is full only if the same signal is in there already. One goroutine moves them to the queue, in order.
type intake struct {
	wake chan struct{} // gets a token when the queue has grown; room for one

	signals []os.Signal      // by ascending number
	chans   []chan os.Signal // chans[i] is for signals[i]
	cancel  func(chan<- os.Signal)
	done    chan struct{} // closed to end collect
	ended   chan struct{} // closed by collect

	mu    sync.Mutex  // guards queue; nothing else is locked under it
	queue []os.Signal // by arrival, without repetition
}

func startIntake(signals []os.Signal, notify func(chan<- os.Signal, ...os.Signal), cancel func(chan<- os.Signal)) *intake {
	in := &intake{
		wake:    make(chan struct{}, 1),
		signals: signals,
		cancel:  cancel,
		done:    make(chan struct{}),
		ended:   make(chan struct{}),
		queue:   make([]os.Signal, 0, len(signals)),
	}
	for _, sig := range signals {
		ch := make(chan os.Signal, 1)
		in.chans = append(in.chans, ch)
		notify(ch, sig)
	}
	go in.collect()
	return in
}

// stop gives the signals back, ends the goroutine and empties the queue. It must be called once.
func (in *intake) stop() {
	for _, ch := range in.chans {
		in.cancel(ch)
	}
	close(in.done)
	<-in.ended
	in.mu.Lock()
	defer in.mu.Unlock()
	in.queue = nil
}

// next takes the signal that has waited longest.
func (in *intake) next() (sig os.Signal, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.queue) == 0 {
		return nil, false
	}
	sig = in.queue[0]
	in.queue = slices.Delete(in.queue, 0, 1)
	return sig, true
}

// collect moves signals from their channels to the queue until done is closed.
func (in *intake) collect() {
	defer close(in.ended)
	cases := []reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(in.done)}}
	for _, ch := range in.chans {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(ch)})
	}
	for {
		// Select chooses at random among what is there already, so nothing is left there for it.
		in.sweep()
		i, _, _ := reflect.Select(cases)
		if i == 0 {
			return
		}
		in.push(in.signals[i-1])
	}
}

// sweep takes what is in the channels, by ascending number.
func (in *intake) sweep() {
	for i, ch := range in.chans {
		select {
		case <-ch:
			in.push(in.signals[i])
		default:
		}
	}
}

// push appends sig unless it waits already.
func (in *intake) push(sig os.Signal) {
	in.mu.Lock()
	if !slices.Contains(in.queue, sig) {
		in.queue = append(in.queue, sig)
	}
	in.mu.Unlock()
	select {
	case in.wake <- struct{}{}:
	default:
	}
}
