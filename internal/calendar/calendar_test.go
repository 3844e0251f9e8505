package calendar_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/poppobuilder/poppobuilder/internal/calendar"
)

const minute = "2006-01-02 15:04 -0700"

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := calendar.Location(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	tm, err := time.Parse(minute, text)
	if err != nil {
		t.Fatal(err)
	}
	return tm
}

// In Berlin the clock jumps from 2:00 to 3:00 on 2026-03-29 and goes back from
// 3:00 to 2:00 on 2026-10-25; on Lord Howe it moves by half an hour, from 2:00 to
// 2:30 on 2026-10-04.
func TestCron(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, zone, expression, from string
		want                         []string
	}{
		{
			"weekdays", "Europe/Berlin", "30 3 * * 1-5", "2026-01-02 03:30 +0100", // a Friday
			[]string{"2026-01-05 03:30 +0100", "2026-01-06 03:30 +0100"},
		},
		{
			"@daily", "Asia/Tokyo", "@daily", "2026-01-01 12:00 +0900",
			[]string{"2026-01-02 00:00 +0900", "2026-01-03 00:00 +0900"},
		},
		{
			"day of the month or of the week", "UTC", "0 0 13 * 5", "2026-02-12 00:00 +0000",
			[]string{"2026-02-13 00:00 +0000", "2026-02-20 00:00 +0000"},
		},
		{
			"the 29th of February", "UTC", "0 0 29 2 *", "2025-01-01 00:00 +0000",
			[]string{"2028-02-29 00:00 +0000", "2032-02-29 00:00 +0000"},
		},
		{
			"spring: a time that does not exist is due when the clock has jumped", "Europe/Berlin", "30 2 * * *", "2026-03-28 12:00 +0100",
			[]string{"2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"},
		},
		{
			"spring: several such times are due once", "Europe/Berlin", "*/20 2,3 * * *", "2026-03-29 01:00 +0100",
			[]string{"2026-03-29 03:00 +0200", "2026-03-29 03:20 +0200", "2026-03-29 03:40 +0200", "2026-03-30 02:00 +0200"},
		},
		{
			"spring: every hour goes on evenly", "Europe/Berlin", "30 * * * *", "2026-03-29 00:45 +0100",
			[]string{"2026-03-29 01:30 +0100", "2026-03-29 03:30 +0200", "2026-03-29 04:30 +0200"},
		},
		{
			"autumn: a time that comes twice is due the first time", "Europe/Berlin", "30 2 * * *", "2026-10-24 12:00 +0200",
			[]string{"2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"},
		},
		{
			"autumn: asked in the hour that comes again", "Europe/Berlin", "30 2 * * *", "2026-10-25 02:10 +0100",
			[]string{"2026-10-26 02:30 +0100"},
		},
		{
			"autumn: every hour goes on evenly", "Europe/Berlin", "30 * * * *", "2026-10-25 01:45 +0200",
			[]string{"2026-10-25 02:30 +0200", "2026-10-25 02:30 +0100", "2026-10-25 03:30 +0100"},
		},
		{
			"a jump of half an hour", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00 +1030",
			[]string{"2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"},
		},
		{
			"a day that begins at one o'clock", "America/Sao_Paulo", "@daily", "2018-11-03 12:00 -0300",
			[]string{"2018-11-04 01:00 -0200", "2018-11-05 00:00 -0200"},
		},
	} {
		c, err := calendar.ParseCron(test.expression, zone(t, test.zone))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		now := at(t, test.from)
		for _, want := range test.want {
			if now = c.Next(now); now.Format(minute) != want {
				t.Errorf("%s: got %s, want %s", test.name, now.Format(minute), want)
				break
			}
		}
	}
}

func TestParseCronFaults(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{
		"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 30 2 *", ",", ", * * * *", "a * * * *",
		"@every 5m", "@often", "TZ=UTC", "CRON_TZ=UTC 0 0 * * *", "0 0 * * 8",
	} {
		if c, err := calendar.ParseCron(expression, time.UTC); err == nil {
			t.Errorf("%q: %v", expression, c)
		}
	}
}

// Next is after the time that is asked for, and nothing lies between.
func TestCronProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		loc := zone(t, rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"}).Draw(t, "zone"))
		field := func(name string, low, high int) string {
			switch rapid.IntRange(0, 2).Draw(t, name) {
			case 0:
				return "*"
			case 1:
				return fmt.Sprint("*/", rapid.IntRange(1, high).Draw(t, name))
			}
			return fmt.Sprint(rapid.IntRange(low, high).Draw(t, name))
		}
		c, err := calendar.ParseCron(field("minute", 0, 59)+" "+field("hour", 0, 23)+" "+field("day", 1, 28)+" * *", loc)
		if err != nil {
			t.Fatal(err)
		}
		from := time.Unix(rapid.Int64Range(1.5e9, 1.8e9).Draw(t, "from"), 0)
		next := c.Next(from)
		if !next.After(from) {
			t.Fatalf("the next of %v is %v", from, next)
		}
		between := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(from))-1).Draw(t, "between")))
		if again := c.Next(between); !again.Equal(next) {
			t.Fatalf("the next of %v is %v, that of %v is %v", from, next, between, again)
		}
	})
}

func TestWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, zone, start, end, from string
		open                         bool
		opens, closes                string
	}{
		{"before", "Asia/Tokyo", "09:00", "18:00", "2026-01-01 08:59 +0900", false, "2026-01-01 09:00 +0900", "2026-01-01 08:59 +0900"},
		{"at its start", "Asia/Tokyo", "9:00", "18:00", "2026-01-01 09:00 +0900", true, "2026-01-01 09:00 +0900", "2026-01-01 18:00 +0900"},
		{"at its end", "Asia/Tokyo", "09:00", "18:00", "2026-01-01 18:00 +0900", false, "2026-01-02 09:00 +0900", "2026-01-01 18:00 +0900"},
		{"over midnight, before it", "UTC", "22:00", "06:00", "2026-01-01 23:00 +0000", true, "2026-01-01 23:00 +0000", "2026-01-02 06:00 +0000"},
		{"over midnight, after it", "UTC", "22:00", "06:00", "2026-01-01 05:59 +0000", true, "2026-01-01 05:59 +0000", "2026-01-01 06:00 +0000"},
		{"until midnight", "UTC", "22:00", "24:00", "2026-01-01 23:00 +0000", true, "2026-01-01 23:00 +0000", "2026-01-02 00:00 +0000"},
		{"the whole day", "UTC", "08:00", "08:00", "2026-01-01 23:00 +0000", true, "2026-01-01 23:00 +0000", ""},
		{"the whole day, by its ends", "UTC", "00:00", "24:00", "2026-01-01 23:00 +0000", true, "2026-01-01 23:00 +0000", ""},
		{"spring: in the hour that is left out", "Europe/Berlin", "02:00", "02:30", "2026-03-29 00:00 +0100", false, "2026-03-30 02:00 +0200", "2026-03-29 00:00 +0100"},
		{"spring: opens in it", "Europe/Berlin", "02:30", "05:00", "2026-03-29 00:00 +0100", false, "2026-03-29 03:00 +0200", "2026-03-29 00:00 +0100"},
		{"spring: closes in it", "Europe/Berlin", "01:00", "02:30", "2026-03-29 01:30 +0100", true, "2026-03-29 01:30 +0100", "2026-03-29 03:00 +0200"},
		{"autumn: twice", "Europe/Berlin", "02:00", "02:30", "2026-10-25 02:45 +0200", false, "2026-10-25 02:00 +0100", "2026-10-25 02:45 +0200"},
	} {
		start, err1 := calendar.ParseClock(test.start)
		end, err2 := calendar.ParseClock(test.end)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		w := calendar.Window{Start: start, End: end, Location: zone(t, test.zone)}
		now := at(t, test.from)
		if got := w.Open(now); got != test.open {
			t.Errorf("%s: open: %t", test.name, got)
		}
		if got := w.Opens(now).In(w.Location).Format(minute); got != test.opens {
			t.Errorf("%s: opens at %s, want %s", test.name, got, test.opens)
		}
		closes := ""
		if c := w.Closes(now); !c.IsZero() {
			closes = c.In(w.Location).Format(minute)
		}
		if closes != test.closes {
			t.Errorf("%s: closes at %s, want %s", test.name, closes, test.closes)
		}
	}
}

// The window opens when Opens says, and at no minute before.
func TestWindowProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		clock := rapid.IntRange(0, 24*60)
		w := calendar.Window{
			Start:    time.Duration(clock.Draw(t, "start")) * time.Minute,
			End:      time.Duration(clock.Draw(t, "end")) * time.Minute,
			Location: zone(t, rapid.SampledFrom([]string{"Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"}).Draw(t, "zone")),
		}
		// Around the days on which some of the clocks jump.
		day := rapid.SampledFrom([]string{"2026-03-28", "2026-10-24", "2026-10-03", "2026-04-04", "2018-11-03", "2026-06-01"}).Draw(t, "day")
		from, _ := time.Parse(time.DateOnly, day)
		from = from.Add(time.Duration(rapid.IntRange(0, 48*60).Draw(t, "minute")) * time.Minute)
		for _, f := range []struct {
			when func(time.Time) time.Time
			open bool
		}{{w.Opens, true}, {w.Closes, false}} {
			found := f.when(from)
			if found.IsZero() {
				if f.open || w.Start%(24*time.Hour) != w.End%(24*time.Hour) {
					t.Fatalf("never after %v: %+v", from, w)
				}
				continue
			}
			for m := from; m.Before(found); m = m.Add(time.Minute) {
				if w.Open(m) == f.open {
					t.Fatalf("open=%t at %v already, not at %v only: %+v", f.open, m, found, w)
				}
			}
			if w.Open(found) != f.open {
				t.Fatalf("open=%t not at %v: %+v", f.open, found, w)
			}
		}
	})
}

func TestParseClockFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "9", "25:00", "24:01", "12:60", "-1:00", "12:00:00", "12:5", "noon", " 9:00"} {
		if d, err := calendar.ParseClock(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	const most = 10 * time.Minute
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var sum time.Duration
	seen := make(map[time.Duration]bool)
	for i := range 1000 {
		j := calendar.Jitter(fmt.Sprint("project", i), noon, most)
		if j < 0 || j >= most {
			t.Fatalf("%v", j)
		}
		sum += j
		seen[j] = true
	}
	if mean := sum / 1000; mean < most*2/5 || mean > most*3/5 || len(seen) < 990 {
		t.Errorf("the mean of 1000 is %v, %d are different", mean, len(seen))
	}
	if a, b := calendar.Jitter("a", noon, most), calendar.Jitter("a", noon.In(time.Local), most); a != b {
		t.Errorf("%v and then %v", a, b)
	}
	if a, b := calendar.Jitter("a", noon, most), calendar.Jitter("a", noon.Add(time.Hour), most); a == b {
		t.Errorf("twice %v", a)
	}
	if j := calendar.Jitter("a", noon, 0); j != 0 {
		t.Errorf("none is %v", j)
	}
}
