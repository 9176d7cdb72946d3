// heap.go - story 3, the heap that is too large to trace, in Go: workers beside a long-lived array
// or tree. With "-touched" behind the work's name they write a word in every page they allocate.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	workerWords = 1000000
	pageWords   = 512
	targets     = 1000000
)

type target struct{ n, m int64 }

type node struct {
	left, right *node
	n           int64
}

var (
	touched    bool
	iterations int64
	burned     int64
	stop       int32
)

func factorial(n int64) int64 {
	if n <= 1 {
		return 1
	}
	return n * factorial(n-1)
}

func worker(done chan bool) {
	written := new(target)
	for atomic.LoadInt32(&stop) == 0 {
		array := make([]*target, workerWords)
		for i := 0; touched && i < len(array); i += pageWords {
			array[i] = written
		}
		atomic.AddInt64(&burned, factorial(20)+int64(len(array)))
		atomic.AddInt64(&iterations, 1)
	}
	done <- true
}

func pointers(n int) any {
	long := make([]*target, n)
	for i := range long {
		if i < targets {
			long[i] = new(target)
		} else {
			long[i] = long[i-targets]
		}
	}
	return long
}

func tree(n int) *node {
	if n == 0 {
		return nil
	}
	made := &node{n: int64(n)}
	made.left = tree((n - 1) / 2)
	made.right = tree(n / 2)
	return made
}

func integers(n int) any {
	long := make([]int64, n)
	for i := range long {
		long[i] = int64(i)
	}
	return long
}

func measure(seconds float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan bool)
	for i := 0; i < runtime.NumCPU(); i++ {
		go worker(done)
	}
	begun := time.Now()
	for time.Since(begun).Seconds() < seconds {
		time.Sleep(50 * time.Millisecond)
		tick(int(time.Since(begun)/time.Millisecond), int(seconds*1000), "working")
	}
	atomic.StoreInt32(&stop, 1)
	took := time.Since(begun).Seconds()
	value("iterations", float64(atomic.LoadInt64(&iterations))/took)
	for i := 0; i < runtime.NumCPU(); i++ {
		<-done
	}
	runtime.ReadMemStats(&after)
	report(before, after)
}

func report(before, after runtime.MemStats) {
	longest := uint64(0)
	for n := before.NumGC; n < after.NumGC && n < before.NumGC+256; n++ {
		if pause := after.PauseNs[n%256]; pause > longest {
			longest = pause
		}
	}
	value("pause", float64(longest))
	value("share", after.GCCPUFraction)
	value("goal", float64(after.NextGC))
	value("cycles", float64(after.NumGC-before.NumGC))
}

func main() {
	work, size := start()
	seconds := 5.0
	if len(os.Args) > 3 {
		seconds, _ = strconv.ParseFloat(os.Args[3], 64)
	}
	var long any
	touched = strings.HasSuffix(work, "-touched")
	switch strings.TrimSuffix(work, "-touched") {
	case "null":
		long = make([]*target, size)
	case "pointers":
		long = pointers(size)
	case "tree":
		long = tree(size)
	case "integers":
		long = integers(size)
	default:
		fmt.Fprintln(os.Stderr, "no such work:", work)
		os.Exit(2)
	}
	step("long-lived")
	measure(seconds)
	step("worked")
	runtime.KeepAlive(long)
}
