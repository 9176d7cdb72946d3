// heap.go writes two heap profiles of its own, for pprof.sh: those of another program than ours.
package main

import (
	"os"
	"runtime"
	"runtime/pprof"
)

var keep [][]byte

//go:noinline
func grow(n, size int) {
	for i := 0; i < n; i++ {
		keep = append(keep, make([]byte, size))
	}
}

func write(name string) {
	runtime.GC()
	file, err := os.Create(name)
	if err == nil {
		err = pprof.WriteHeapProfile(file)
	}
	if err != nil {
		panic(err)
	}
	file.Close()
}

func main() {
	runtime.MemProfileRate = 1
	grow(200, 10000)
	write(os.Args[1])
	grow(100, 30000)
	write(os.Args[2])
}
