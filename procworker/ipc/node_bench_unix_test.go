//go:build unix

package ipc_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/poppobuilder/poppobuilder/procworker/ipc"
)

// nodeChild echoes what it gets, and sends so many messages when it is told to.
const nodeChild = `
process.on('message', (m) => {
  if (m.type === 'burst') { for (let i = 0; i < m.n; i++) process.send({ type: 'ready', protocol: 1, pid: i }); return }
  process.send(m)
})
process.send({ type: 'up' })
`

// nodeParent measures, in messages a second, n round trips and a burst of n.
const nodeParent = `
const child = require('child_process').fork(process.argv[2]), n = +process.argv[3]
let left = n, begin, trips
child.on('message', (m) => {
  if (m.type === 'up') { begin = process.hrtime.bigint(); child.send({ type: 'ready', protocol: 1, pid: 1 }); return }
  if (--left > 0) { if (!trips) child.send(m); return }
  const rate = n / (Number(process.hrtime.bigint() - begin) / 1e9)
  if (!trips) { trips = rate; left = n; begin = process.hrtime.bigint(); child.send({ type: 'burst', n }); return }
  console.log(trips, rate)
  child.disconnect()
})
`

const nodeMessages = 20_000

// BenchmarkBesideNode puts our end of the channel beside Node's
// child_process.fork, each with the same unchanged script as its child, and
// with one that uses this package. Ratios above 1 say that we are ahead.
func BenchmarkBesideNode(b *testing.B) {
	node, err := exec.LookPath("node")
	if err != nil {
		b.Skip("node is not installed")
	}
	dir := b.TempDir()
	child, parent := filepath.Join(dir, "child.js"), filepath.Join(dir, "parent.js")
	for path, script := range map[string]string{child: nodeChild, parent: nodeParent} {
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for _, pin := range []string{"free", "pinned"} {
		b.Run(pin, func(b *testing.B) {
			var pinned []string
			if pin == "pinned" {
				taskset, err := exec.LookPath("taskset")
				if err != nil {
					b.Skip("taskset is not installed")
				}
				pinned = []string{taskset, "-c", "0"}
			}
			n := strconv.Itoa(nodeMessages)
			var sums [3][2]float64
			for b.Loop() {
				for i, command := range [][]string{
					{node, parent, child, n},
					{os.Args[0], node, child},
					{os.Args[0], os.Args[0]},
				} {
					trips, burst := rates(b, append(pinned, command...))
					sums[i][0] += trips
					sums[i][1] += burst
				}
			}
			b.ReportMetric(sums[0][0]/float64(b.N), "node-trips/s")
			b.ReportMetric(sums[0][1]/float64(b.N), "node-msg/s")
			b.ReportMetric(sums[1][0]/sums[0][0], "go+node-trips")
			b.ReportMetric(sums[1][1]/sums[0][1], "go+node-msg")
			b.ReportMetric(sums[2][0]/sums[0][0], "go+go-trips")
			b.ReportMetric(sums[2][1]/sums[0][1], "go+go-msg")
		})
	}
}

func rates(b *testing.B, command []string) (trips, burst float64) {
	b.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), envRole+"="+besideNode)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &trips, &burst)
	}
	if err != nil {
		b.Fatalf("%s: %v: %q", strings.Join(command, " "), err, out)
	}
	return trips, burst
}

// Roles of the two sides in BenchmarkBesideNode.
const (
	besideNode      = "beside node"
	besideNodeChild = "beside node, child"
)

// playBesideNode does what nodeParent does.
func playBesideNode() error {
	parent, theirs, err := ipc.Pair()
	if err != nil {
		return err
	}
	conn := ipc.NewConn(parent, ipc.Options{})
	defer conn.Close()
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Env = append(os.Environ(), ipc.EnvFD+"=3", ipc.EnvNodeFD+"=3", envRole+"="+besideNodeChild)
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return err
	}
	theirs.Close()
	if _, err := conn.Receive(); err != nil { // it is up
		return err
	}
	begin := time.Now()
	for range nodeMessages {
		if err := conn.Send(context.Background(), benchBody); err != nil {
			return err
		}
		if _, err := conn.Receive(); err != nil {
			return err
		}
	}
	trips := nodeMessages / time.Since(begin).Seconds()
	begin = time.Now()
	if err := conn.Send(context.Background(), burst{N: nodeMessages}); err != nil {
		return err
	}
	for range nodeMessages {
		if _, err := conn.Receive(); err != nil {
			return err
		}
	}
	fmt.Println(trips, nodeMessages/time.Since(begin).Seconds())
	conn.Close()
	return cmd.Wait()
}

type burst struct {
	N int `json:"n"`
}

func (burst) MessageType() string { return "burst" }

// playBesideNodeChild does what nodeChild does.
func playBesideNodeChild() error {
	conn, err := ipc.FromEnv()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Send(context.Background(), kind("up")); err != nil {
		return err
	}
	for {
		m, err := conn.Receive()
		if err != nil {
			return nil // the end
		}
		answers, answer := 1, burst{}
		if m.Type == answer.MessageType() {
			if err := m.Decode(&answer); err != nil {
				return err
			}
			answers = answer.N
		}
		for range answers {
			if err := conn.Send(context.Background(), benchBody); err != nil {
				return err
			}
		}
	}
}

// playBeside plays one of the two.
func playBeside(role string) int {
	play := playBesideNode
	if role == besideNodeChild {
		play = playBesideNodeChild
	}
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
