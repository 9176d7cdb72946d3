// maps.go - story 2, the map that only grows, in Go: what stays after everything was deleted.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// fill, empty and let go, with the steps that the story names.
func story[K comparable, V any](n int, key func(int) K, value func(int) V) {
	step("started")
	m := make(map[K]V)
	for i := 0; i < n; i++ {
		m[key(i)] = value(i)
		if i&1023 == 0 {
			tick(i, n, "inserting")
		}
	}
	step("inserted")
	for i := 0; i < n; i++ {
		delete(m, key(i))
		if i&1023 == 0 {
			tick(i, n, "deleting")
		}
	}
	step("deleted")
	runtime.GC()
	step("collected")
	debug.FreeOSMemory()
	step("released")
	runtime.KeepAlive(m)
}

func number(i int) int { return i }

func wide640(i int) (v [640]byte) {
	v[0], v[1], v[2], v[639] = byte(i), byte(i>>8), byte(i>>16), 1
	return v
}

func wide120(i int) (v [120]byte) {
	v[0], v[1], v[2], v[119] = byte(i), byte(i>>8), byte(i>>16), 1
	return v
}

func refill(n int) {
	step("started")
	m := make(map[int][128]byte)
	var took time.Duration
	for round := 1; round <= 5; round++ {
		begun := time.Now()
		for i := 0; i < n; i++ {
			m[round*n+i] = [128]byte{1}
			if i&1023 == 0 {
				tick(i, n, "filling")
			}
		}
		took += time.Since(begun)
		step(fmt.Sprintf("full %d", round))
		for i := 0; i < n; i++ {
			delete(m, round*n+i)
		}
		runtime.GC()
		step(fmt.Sprintf("empty %d", round))
	}
	value("ns", float64(took.Nanoseconds())/float64(5*n))
	runtime.KeepAlive(m)
}

// visitors at each hour of a day, in hundredths of the peak.
var day = []int{4, 3, 2, 2, 2, 3, 6, 12, 25, 45, 70, 90, 100, 95, 80, 60, 45, 30, 20, 14, 10, 7, 5, 4}

func cache(n int) {
	step("started")
	m := make(map[int][128]byte)
	first, next := 0, 0
	for hour, level := range day {
		want := n / 100 * level
		for moved := 0; moved < n/8 || next-first != want; moved++ {
			if next-first <= want {
				m[next] = [128]byte{1}
				next++
			}
			if next-first > want {
				delete(m, first)
				first++
			}
		}
		tick(hour, len(day), "a day's visitors")
		if hour == 12 {
			step("noon")
		}
	}
	runtime.GC()
	step("midnight")
	debug.FreeOSMemory()
	step("released")
	value("entries", float64(len(m)))
}

func main() {
	work, size := start()
	switch work {
	case "int128":
		story(size, number, func(i int) [128]byte { return [128]byte{byte(i)} })
	case "strings":
		story(size, func(i int) string { return fmt.Sprintf("visitor-%09d", i) },
			func(i int) string { return fmt.Sprintf("seen at gate %09d", i) })
	case "wide640":
		story(size, wide640, wide640)
	case "wide120":
		story(size, wide120, wide120)
	case "pointers":
		story(size, number, func(i int) *[128]byte { return &[128]byte{byte(i)} })
	case "refill":
		refill(size)
	case "cache":
		cache(size)
	default:
		fmt.Fprintln(os.Stderr, "no such work:", work)
		os.Exit(2)
	}
}
