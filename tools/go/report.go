// report.go - what a program of the tour tells the tour: lines on standard output.
//
//	heap BYTES              the heap as of now
//	step HEAP RSS NAME      a point of the story was reached
//	value NAME NUMBER       a figure
//	progress DONE TOTAL LABEL
//
// The Go programs of this folder do what the stories of `ebb tour` do, each in a file of its own
// built together with this one: go build slices.go report.go. They use the standard library only.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var (
	out      = bufio.NewWriter(os.Stdout)
	lastTick time.Time
)

// hold is how long a step is held, so that the plot shows where it stands.
const hold = 120 * time.Millisecond

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func rssBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// tick is called often while a step runs; it speaks a few times a second.
func tick(done, total int, label string) {
	now := time.Now()
	if now.Sub(lastTick) < 40*time.Millisecond {
		return
	}
	lastTick = now
	fmt.Fprintf(out, "heap %d\nprogress %d %d %s\n", heapBytes(), done, total, label)
	out.Flush()
}

func step(name string) {
	fmt.Fprintf(out, "step %d %d %s\n", heapBytes(), rssBytes(), name)
	out.Flush()
	time.Sleep(hold)
}

func value(name string, number float64) {
	fmt.Fprintf(out, "value %s %.6g\n", name, number)
	out.Flush()
}

// start reads the arguments that every program takes: the name of the work and its size.
func start() (work string, size int) {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage:", os.Args[0], "WORK SIZE")
		os.Exit(2)
	}
	size, err := strconv.Atoi(os.Args[2])
	if err != nil || size <= 0 {
		fmt.Fprintln(os.Stderr, "bad size:", os.Args[2])
		os.Exit(2)
	}
	return os.Args[1], size
}
