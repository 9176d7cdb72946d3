// slices.go - story 1, the slice that remembers, in Go: what is alive after a cut.
package main

import (
	"fmt"
	"os"
	"runtime"
)

type point struct{ x, y, z float64 }

const itemBytes = 64 << 10

func items(n int) [][]byte {
	s := make([][]byte, n)
	for i := range s {
		s[i] = make([]byte, itemBytes)
		for at := range s[i] {
			s[i][at] = byte(i)
		}
		if i&1023 == 0 {
			tick(i, n, "filling")
		}
	}
	return s
}

func cutItems(work string, n int) {
	s := items(n)
	keep := n / 100
	step("filled")
	switch work {
	case "truncate":
		s = s[:keep]
	case "three-index":
		s = s[:keep:keep]
	case "zero":
		s = s[:0]
	case "clear":
		for i := keep; i < n; i++ {
			s[i] = nil
		}
		s = s[:keep]
	case "copy":
		s = append([][]byte(nil), s[:keep]...)
	}
	step("cut")
	runtime.GC()
	step("collected")
	runtime.KeepAlive(s)
}

func cutPoints(n int) {
	s := make([]point, n)
	for i := range s {
		s[i] = point{float64(i), 0, 1}
	}
	step("filled")
	s = s[:n/100]
	step("cut")
	runtime.GC()
	step("collected")
	runtime.KeepAlive(s)
}

func main() {
	work, size := start()
	switch work {
	case "truncate", "three-index", "zero", "clear", "copy":
		cutItems(work, size)
	case "points":
		cutPoints(size)
	default:
		fmt.Fprintln(os.Stderr, "no such work:", work)
		os.Exit(2)
	}
}
