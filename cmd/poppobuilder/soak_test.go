//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soakVariable says how long the soak takes.
const soakVariable = "SOAK_TIME"

// soakSamples is how many samples are taken, the first after a warm-up.
const soakSamples = 24

// A soakSample is what the daemon takes at one moment. Of workers it is the most
// that any of them takes.
type soakSample struct {
	at         time.Duration
	fds        float64 // descriptors of the master
	goroutines float64 // of the master
	rss        float64 // MiB, of the master
	workerFDs  float64
	threads    float64 // of a worker
	workerRSS  float64 // MiB
	keeperRSS  float64 // MiB
}

// TestSoak keeps a daemon busy, and asserts that what it and its workers take
// does not grow.
func TestSoak(t *testing.T) {
	text := os.Getenv(soakVariable)
	if text == "" {
		t.Skipf("takes 20 minutes: just soak, or %s=20m", soakVariable)
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	c := newChaos(t, 1)
	begin := time.Now()
	interval := duration / (soakSamples + 4)
	var series []soakSample
	for len(series) < soakSamples {
		c.busyUntil(begin.Add(time.Duration(len(series)+5) * interval)) // 4 to warm up
		s := c.sample()
		s.at = time.Since(begin)
		t.Logf("%6s  master: %3.0f descriptors %3.0f goroutines %5.1f MiB   workers: %2.0f descriptors %2.0f threads %5.1f MiB   keeper: %4.1f MiB",
			s.at.Round(time.Second), s.fds, s.goroutines, s.rss, s.workerFDs, s.threads, s.workerRSS, s.keeperRSS)
		series = append(series, s)
		c.noZombies()
	}
	for _, q := range []struct {
		name  string
		of    func(soakSample) float64
		slack float64 // that a series without a trend may seem to grow
	}{
		{"descriptors of the master", func(s soakSample) float64 { return s.fds }, 5},
		{"goroutines of the master", func(s soakSample) float64 { return s.goroutines }, 5},
		{"MiB of the master", func(s soakSample) float64 { return s.rss }, 3},
		{"descriptors of a worker", func(s soakSample) float64 { return s.workerFDs }, 3},
		{"threads of a worker", func(s soakSample) float64 { return s.threads }, 4},
		{"MiB of a worker", func(s soakSample) float64 { return s.workerRSS }, 3},
		{"MiB of the keeper", func(s soakSample) float64 { return s.keeperRSS }, 1},
	} {
		growth, mean := trend(series, q.of)
		t.Logf("%s: %.1f on average, %+.2f over the time", q.name, mean, growth)
		if growth > q.slack+mean/10 {
			t.Errorf("%s grow: %+.1f over %v, from %.1f on average", q.name, growth, duration, mean)
		}
	}
	c.finish()
	t.Logf("runs that ended: %v", c.ended)
}

// busyUntil asks for this and that until then.
func (c *chaos) busyUntil(then time.Time) {
	c.t.Helper()
	for time.Now().Before(then) {
		c.statusNow()
		c.checkRuns()
		c.reload()
		for range 5 {
			c.ask(func(ctx context.Context, id string) error { _, err := c.client.RunProject(ctx, id); return err })
		}
		<-time.After(min(time.Second, max(time.Until(then), 0)))
	}
}

var goroutinesInLog = regexp.MustCompile(` goroutines=(\d+)`)

// sample looks at the processes.
func (c *chaos) sample() (s soakSample) {
	c.t.Helper()
	status := c.statusNow()
	before, _ := os.ReadFile(c.paths.DaemonLog)
	lines := len(goroutinesInLog.FindAll(before, -1))
	kill(c.t, status.PID, syscall.SIGUSR1)
	for deadline := time.Now().Add(patience); s.goroutines == 0 && time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		log, _ := os.ReadFile(c.paths.DaemonLog)
		if found := goroutinesInLog.FindAllSubmatch(log, -1); len(found) > lines || len(found) > 0 && len(log) < len(before) {
			s.goroutines, _ = strconv.ParseFloat(string(found[len(found)-1][1]), 64)
		}
	}
	s.fds, s.rss = descriptors(status.PID), residentMiB(status.PID)
	s.keeperRSS = residentMiB(status.Keeper.PID)
	for _, pid := range workerPIDs(status) {
		threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		s.workerFDs = max(s.workerFDs, descriptors(pid))
		s.threads = max(s.threads, float64(len(threads)))
		s.workerRSS = max(s.workerRSS, residentMiB(pid))
	}
	return s
}

func descriptors(pid int) float64 {
	open, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return float64(len(open))
}

var residentInStatus = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func residentMiB(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	found := residentInStatus.FindSubmatch(text)
	if found == nil {
		return 0
	}
	kib, _ := strconv.ParseFloat(string(found[1]), 64)
	return kib / 1024
}

// trend fits a line, and returns by how much it rises over the whole series,
// and the mean.
func trend(series []soakSample, of func(soakSample) float64) (growth, mean float64) {
	n := float64(len(series))
	var sumX, sumY, sumXX, sumXY float64
	for _, s := range series {
		x, y := s.at.Seconds(), of(s)
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+y, sumXX+x*x, sumXY+x*y
	}
	slope := (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
	return slope * (series[len(series)-1].at - series[0].at).Seconds(), sumY / n
}

// noZombies asserts that whoever is dead below the daemon is waited for soon.
func (c *chaos) noZombies() {
	c.t.Helper()
	status := c.statusNow()
	parents := append(workerPIDs(status), status.PID)
	zombies := zombiesBelow(parents)
	for deadline := time.Now().Add(5 * time.Second); len(zombies) > 0; <-time.After(50 * time.Millisecond) {
		now := zombiesBelow(parents)
		zombies = slices.DeleteFunc(zombies, func(z string) bool { return !slices.Contains(now, z) })
		if time.Now().After(deadline) && len(zombies) > 0 {
			c.t.Errorf("zombies: %v", zombies)
			return
		}
	}
}

// zombiesBelow returns the dead children of processes, as "pid@start".
func zombiesBelow(parents []int) (found []string) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file)
		fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
		if len(fields) < 20 || fields[0] != "Z" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		if slices.Contains(parents, parent) {
			found = append(found, strings.Split(file, "/")[2]+"@"+fields[19])
		}
	}
	return found
}
