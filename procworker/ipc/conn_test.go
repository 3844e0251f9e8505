package ipc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(playRole(role))
	}
	goleak.VerifyTestMain(m)
}

// A stream is an rwc that has been read and written before.
type stream struct {
	io.Reader
	io.Writer
}

func (stream) Close() error { return nil }

func reading(text string) *ipc.Conn {
	return ipc.NewConn(stream{strings.NewReader(text), io.Discard}, ipc.Options{})
}

// transcript receives to the end and writes down what came.
func transcript(c *ipc.Conn) (lines []string, end error) {
	for {
		m, err := c.Receive()
		var bad *ipc.MalformedError
		switch {
		case errors.As(err, &bad):
			lines = append(lines, "bad: "+bad.Reason)
		case err != nil:
			return lines, err
		default:
			lines = append(lines, m.Type+" "+string(m.Raw))
		}
	}
}

func TestReceive(t *testing.T) {
	t.Parallel()
	const (
		notJSON = "bad: not JSON"
		noType  = `bad: not an object with a string "type"`
		tooLong = "bad: longer than a message may be"
		half    = "bad: the channel ended inside it"
	)
	long := strings.Repeat("x", ipc.MaxMessage)
	fits := `{"type":"a","b":"` + strings.Repeat("x", ipc.MaxMessage-len(`{"type":"a","b":""}`)-1) + `"}`
	tests := []struct {
		name, in string
		want     []string
		stats    ipc.Stats
	}{
		{name: "nothing"},
		{name: "one", in: `{"type":"ready"}` + "\n", want: []string{`ready {"type":"ready"}`}, stats: ipc.Stats{Received: 1}},
		{name: "type is not first", in: `{"a":{"type":"x"},"type":"ready"}` + "\n", want: []string{`ready {"a":{"type":"x"},"type":"ready"}`}, stats: ipc.Stats{Received: 1}},
		{name: "white space", in: " { \"type\" : \"run\" } \r\n", want: []string{"run  { \"type\" : \"run\" } \r"}, stats: ipc.Stats{Received: 1}},
		{name: "escaped type", in: `{"type":"re\u0061dy"}` + "\n", want: []string{`ready {"type":"re\u0061dy"}`}, stats: ipc.Stats{Received: 1}},
		{name: "unknown type", in: `{"type":"x"}` + "\n", want: []string{`x {"type":"x"}`}, stats: ipc.Stats{Received: 1, Unknown: 1}},
		{name: "empty lines", in: "\n\n \r\n" + `{"type":"run"}` + "\n\n", want: []string{`run {"type":"run"}`}, stats: ipc.Stats{Received: 1}},
		{name: "Node's own", in: `{"cmd":"NODE_HANDLE_ACK"}` + "\n" + `{"cmd":"other"}` + "\n", want: []string{noType}, stats: ipc.Stats{Internal: 1, Malformed: 1}},
		{
			name: "malformed", in: "nonsense\n[1]\n7\n{}\n{\"type\":7}\n{\"type\":\"\"}\n{\"Type\":\"run\"}\n{\"type\":\"run\"\n{\"type\":\"run\"}}\nnull\n\"type\"\n",
			want:  []string{notJSON, noType, noType, noType, noType, noType, noType, notJSON, notJSON, noType, noType},
			stats: ipc.Stats{Malformed: 11},
		},
		{name: "NUL", in: "{\"type\":\"r\x00\"}\n\x00\n{\"type\":\"run\"}\n", want: []string{notJSON, notJSON, `run {"type":"run"}`}, stats: ipc.Stats{Received: 1, Malformed: 2}},
		{name: "invalid UTF-8", in: "{\"type\":\"run\",\"a\":\"\xff\"}\n\xff\xfe\n", want: []string{"run {\"type\":\"run\",\"a\":\"\xff\"}", notJSON}, stats: ipc.Stats{Received: 1, Malformed: 1}},
		{name: "half a line", in: `{"type":"run"}` + "\n" + `{"type":"run"}`, want: []string{`run {"type":"run"}`, half}, stats: ipc.Stats{Received: 1, Malformed: 1}},
		{name: "longest", in: fits + "\n" + `{"type":"run"}` + "\n", want: []string{"a " + fits, `run {"type":"run"}`}, stats: ipc.Stats{Received: 2, Unknown: 1}},
		{name: "too long", in: long + "\n" + `{"type":"run"}` + "\n", want: []string{tooLong, `run {"type":"run"}`}, stats: ipc.Stats{Received: 1, Malformed: 1}},
		{name: "much too long", in: long + long + long + "\n" + `{"type":"run"}` + "\n", want: []string{tooLong, `run {"type":"run"}`}, stats: ipc.Stats{Received: 1, Malformed: 1}},
		{name: "too long to the end", in: long + long, want: []string{tooLong}, stats: ipc.Stats{Malformed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := reading(tt.in)
			got, end := transcript(c)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(end, io.EOF) {
				t.Errorf("end = %v", end)
			}
			if _, err := c.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %v", err)
			}
			if diff := cmp.Diff(tt.stats, c.Stats()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The lengths and excerpts of what is thrown away.
func TestMalformedError(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10, 5000, ipc.MaxMessage - 1, ipc.MaxMessage, ipc.MaxMessage + 1, 3*ipc.MaxMessage + 7} {
		_, err := reading(strings.Repeat("z", n) + "\n").Receive()
		var bad *ipc.MalformedError
		if !errors.As(err, &bad) || bad.Length != n || len(bad.Line) != min(n, 200) {
			t.Errorf("%d bytes: length %d, excerpt %d", n, bad.Length, len(bad.Line))
		}
	}
}

// A line without end does not grow memory: the buffer is what is read into.
func TestEndlessLineIsBounded(t *testing.T) {
	t.Parallel()
	zeros := &zeros{left: 64 << 20}
	_, err := ipc.NewConn(stream{zeros, io.Discard}, ipc.Options{}).Receive()
	var bad *ipc.MalformedError
	if !errors.As(err, &bad) || bad.Length != 64<<20 {
		t.Errorf("Receive = %v", err)
	}
	if zeros.buffer > ipc.MaxMessage {
		t.Errorf("a buffer of %d bytes", zeros.buffer)
	}
}

type zeros struct{ left, buffer int }

func (z *zeros) Read(p []byte) (int, error) {
	z.buffer = max(z.buffer, len(p))
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

type body map[string]any

func (body) MessageType() string { return "body" }

type kind string

func (k kind) MessageType() string { return string(k) }

func (kind) MarshalJSON() ([]byte, error) { return []byte(`{}`), nil }

type list []int

func (list) MessageType() string { return "list" }

func TestSend(t *testing.T) {
	t.Parallel()
	code := 3
	tests := []struct {
		in   ipc.Body
		want string // "" is an error
	}{
		{ipc.Ready{Protocol: 1, PID: 7}, `{"type":"ready","protocol":1,"pid":7}`},
		{ipc.Heartbeat{}, `{"type":"heartbeat"}`},
		{ipc.Finished{Run: "r", ExitCode: &code}, `{"type":"finished","run":"r","exitCode":3,"userMs":0,"systemMs":0,"maxRssBytes":0}`},
		{ipc.Reload{Config: json.RawMessage("{\n \"a\": 1}")}, `{"type":"reload","config":{"a":1}}`},
		{body{"a": "new\nline"}, `{"type":"body","a":"new\nline"}`},
		{body(nil), ""},
		{list{1}, ""},
		{body{"a": func() {}}, ""},
		{kind(""), ""},
		{kind("a\"b"), ""},
		{kind("ok"), `{"type":"ok"}`},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		c := ipc.NewConn(stream{nil, &out}, ipc.Options{})
		err := c.Send(t.Context(), tt.in)
		want := tt.want
		if want != "" {
			want += "\n"
		}
		if out.String() != want || (err != nil) != (want == "") || (c.Stats().Sent == 1) != (err == nil) {
			t.Errorf("Send %#v: %q, %v", tt.in, out.String(), err)
		}
	}
}

func TestSendTooLong(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := ipc.NewConn(stream{nil, &out}, ipc.Options{MaxMessage: 20})
	var tooLong *ipc.TooLongError
	if err := c.Send(t.Context(), ipc.Ready{}); !errors.As(err, &tooLong) || tooLong.Max != 20 || tooLong.Type != "ready" {
		t.Errorf("Send = %v, want *TooLongError", err)
	}
	if out.Len() != 0 {
		t.Errorf("sent %q", out.String())
	}
	if err := c.Send(t.Context(), kind("a")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func pair(t testing.TB) (a, b *ipc.Conn) {
	t.Helper()
	parent, child, err := ipc.Pair()
	if err != nil {
		t.Skip(err)
	}
	a, b = ipc.NewConn(parent, ipc.Options{}), ipc.NewConn(child, ipc.Options{})
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// While nobody reads, Send ends with its context. What did not begin does no
// harm; what was cut in the middle closes the sending half.
func TestSendIsBounded(t *testing.T) {
	t.Parallel()
	near, far, err := ipc.Pair()
	if err != nil {
		t.Skip(err)
	}
	defer far.Close()
	a := ipc.NewConn(near, ipc.Options{})
	defer a.Close()

	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	result := make(chan error)
	go func() {
		// More than the socket takes at once.
		result <- a.Send(ctx, body{"a": strings.Repeat("x", 900_000)})
	}()
	if _, err := far.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel(why) // in the middle, then
	if err := <-result; !errors.Is(err, why) || !errors.Is(err, ipc.ErrTorn) {
		t.Fatalf("Send = %v, want the cause, torn", err)
	}
	if err := a.Send(t.Context(), kind("a")); !errors.Is(err, ipc.ErrTorn) {
		t.Errorf("Send = %v, want ErrTorn", err)
	}
	if err := a.Send(ctx, kind("a")); !errors.Is(err, why) {
		t.Errorf("Send = %v, want the cause", err)
	}
	// Receiving still works.
	if _, err := io.WriteString(far, "{\"type\":\"b\"}\n"); err != nil {
		t.Fatal(err)
	}
	if m, err := a.Receive(); err != nil || m.Type != "b" {
		t.Errorf("Receive = %v, %v", m, err)
	}
}

// One sender's deadline does not fall on another one.
func TestSendWaitsItsTurn(t *testing.T) {
	t.Parallel()
	left, right := net.Pipe() // unbuffered: a Send blocks until it is read
	a, b := ipc.NewConn(left, ipc.Options{}), ipc.NewConn(right, ipc.Options{})
	defer a.Close()
	defer b.Close()
	first := make(chan error)
	go func() { first <- a.Send(t.Context(), kind("first")) }()
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := a.Send(ctx, kind("late")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ipc.ErrTorn) {
			t.Errorf("Send = %v, want a deadline, not torn", err)
		}
		cancel()
	}
	if m, err := b.Receive(); err != nil || m.Type != "first" {
		t.Errorf("Receive = %v, %v", m, err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestSendersDoNotMix(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const senders, each = 8, 200
	var group sync.WaitGroup
	for s := range senders {
		group.Go(func() {
			for i := range each {
				if err := a.Send(t.Context(), body{"s": s, "i": i, "pad": strings.Repeat("p", i*7)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make([]int, senders)
	for range senders * each {
		m, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ S, I int }
		if err := m.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.I != next[got.S] {
			t.Fatalf("sender %d: %d, want %d", got.S, got.I, next[got.S])
		}
		next[got.S]++
	}
	group.Wait()
}

// What was sent before the end is delivered, also where the other side left
// messages of ours unread, which makes the kernel report a reset.
func TestEnd(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	if err := a.Send(t.Context(), kind("unread")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Send(t.Context(), kind("last")); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	got, end := transcript(a)
	if len(got) != 3 || !errors.Is(end, io.EOF) {
		t.Errorf("got %v, %v", got, end)
	}
	if err := a.Send(t.Context(), kind("late")); err == nil {
		t.Error("sent to nobody")
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	m, err := reading(`{"type":"run","run":{"id":"1","command":["a"],"future":true},"more":[]}` + "\n").Receive()
	if err != nil {
		t.Fatal(err)
	}
	var run ipc.Run
	if err := m.Decode(&run); err != nil || run.Run.ID != "1" || len(run.Run.Command) != 1 {
		t.Errorf("Decode: %+v, %v", run, err)
	}
	var wrong struct{ Run int }
	if err := m.Decode(&wrong); err == nil || !strings.Contains(err.Error(), `"run"`) {
		t.Errorf("Decode = %v", err)
	}
}

func ExampleConn() {
	parent, child, err := ipc.Pair()
	if err != nil {
		fmt.Println(err)
		return
	}
	master, worker := ipc.NewConn(parent, ipc.Options{}), ipc.NewConn(child, ipc.Options{})
	defer master.Close()

	_ = worker.Send(context.Background(), ipc.Metrics{Metrics: map[string]float64{"runs": 3}})
	worker.Close()

	for {
		m, err := master.Receive()
		if errors.Is(err, io.EOF) {
			fmt.Println("the worker is gone")
			return
		}
		var metrics ipc.Metrics
		if err := m.Decode(&metrics); err != nil {
			fmt.Println(err)
		}
		fmt.Println(m.Type, metrics.Metrics["runs"])
	}
	// Output:
	// metrics 3
	// the worker is gone
}
