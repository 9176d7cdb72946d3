// map.go - the map cases of map.c for Go's built-in map: the same keys, the same order, the same
// result lines. Strings are slices of one block, as there.
//
//	map_go --entries 1000000 [--strings] [--measure 0]
package main

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	batchSize   = 1024
	copies      = 1000
	runs        = 10
	stringBytes = 24
)

type op int

const (
	opPut op = iota
	opHit
	opMiss
	opDelete
)

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
	os.Exit(1)
}

func clockNs(clock uintptr) uint64 {
	var t syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clock,
		uintptr(unsafe.Pointer(&t)), 0)
	if errno != 0 {
		fail("clock_gettime: %v", errno)
	}
	return uint64(t.Nano())
}

const (
	clockProcess = 2
	clockThread  = 3
)

var (
	useCPU  = os.Getenv("BENCH_CLOCK") == "cpu"
	started = time.Now()
)

func nowNs() uint64 {
	if useCPU {
		return clockNs(clockProcess)
	}
	return uint64(time.Since(started))
}

func rssBytes() uint64 {
	file, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[0] == "Rss:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib * 1024
		}
	}
	return 0
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	return x ^ (x >> 31)
}

// What a key type must say of itself.
type keys[K comparable] interface {
	store(entries int)
	stored(i int) K
	lookup(slot, i int) K
	value(key K) int64
}

type intKeys struct{}

func (intKeys) store(int)             {}
func (intKeys) stored(i int) int64    { return int64(mix(uint64(i))) }
func (intKeys) lookup(_, i int) int64 { return int64(mix(uint64(i))) }
func (intKeys) value(key int64) int64 { return key & 1023 }

type stringKeys struct {
	block    []byte
	lookedUp [batchSize][stringBytes]byte
}

func writeKey(at []byte, number int) int {
	unique, mixed := uint32(number)*0x9e3779b1, mix(uint64(number))
	length := 12 + int(mixed>>60)%12
	for k := 0; k < 8; k++ {
		at[k] = 'a' + byte(unique>>(4*k)&15)
	}
	for k := 8; k < length; k++ {
		at[k] = 'a' + byte(mixed>>(4*(k-8))&15)
	}
	at[length] = 0
	return length
}

func asString(at []byte, length int) string {
	at = at[:length]
	return *(*string)(unsafe.Pointer(&at))
}

func (s *stringKeys) store(entries int) {
	s.block = make([]byte, entries*stringBytes)
	for i := 0; i < entries; i++ {
		writeKey(s.block[i*stringBytes:], i)
	}
}

func (s *stringKeys) stored(i int) string {
	at := s.block[i*stringBytes : (i+1)*stringBytes]
	length := 12
	for at[length] != 0 {
		length++
	}
	return asString(at, length)
}

func (s *stringKeys) lookup(slot, i int) string {
	return asString(s.lookedUp[slot][:], writeKey(s.lookedUp[slot][:], i))
}

func (s *stringKeys) value(key string) int64 { return int64(len(key)) }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

type bench[K comparable] struct {
	keys                          keys[K]
	entries, copies, runs, stride int
	batch                         [batchSize]K
	values                        [batchSize]int64
	maps                          [copies]map[K]int64
}

func newBench[K comparable](k keys[K], entries int) *bench[K] {
	b := &bench[K]{keys: k, entries: entries, copies: 1, runs: 1}
	if entries <= batchSize {
		b.copies, b.runs = copies, runs
	}
	b.stride = int(float64(entries)*0.6180339) | 1
	for gcd(b.stride, entries) != 1 {
		b.stride += 2
	}
	k.store(entries)
	return b
}

func (b *bench[K]) fill(o op, first int) int {
	count := b.entries - first
	if count > batchSize {
		count = batchSize
	}
	for k := 0; k < count; k++ {
		if o == opPut {
			b.batch[k] = b.keys.stored(first + k)
		} else {
			high, low := bits.Mul64(uint64(first+k), uint64(b.stride))
			_, i := bits.Div64(high, low, uint64(b.entries))
			if o == opMiss {
				i += uint64(b.entries)
			}
			b.batch[k] = b.keys.lookup(k, int(i))
		}
		b.values[k] = b.keys.value(b.batch[k])
	}
	return count
}

// One batch; how many operations did what they should.
func (b *bench[K]) do(m map[K]int64, o op, from, to int) (done int) {
	batch, values := b.batch[from:to], b.values[from:to]
	switch o {
	case opPut:
		for k, key := range batch {
			m[key] = values[k]
		}
		done = len(batch)
	case opDelete:
		for _, key := range batch {
			delete(m, key)
		}
		done = len(batch)
	default:
		for k, key := range batch {
			if value, ok := m[key]; ok && value == values[k] {
				done++
			}
		}
	}
	return done
}

func (b *bench[K]) run(m map[K]int64, o op, runs int) (spentNs uint64) {
	done := 0
	for first := 0; first < b.entries; first += batchSize {
		count := b.fill(o, first)
		start := nowNs()
		for r := 0; r < runs; r++ {
			done += b.do(m, o, 0, count)
		}
		spentNs += nowNs() - start
	}
	b.check(m, o, done, runs)
	return spentNs
}

func (b *bench[K]) check(m map[K]int64, o op, done, runs int) {
	expected, left := b.entries*runs, b.entries
	if o == opMiss {
		expected = 0
	}
	if o == opDelete {
		left = 0
	}
	if done != expected || len(m) != left {
		fail("operation %d did %d of %d and left %d", o, done, expected, len(m))
	}
}

func (b *bench[K]) worst(m map[K]int64, o op) (worstNs uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for first := 0; first < b.entries; first += batchSize {
		count := b.fill(o, first)
		before := clockNs(clockThread)
		for k := 0; k < count; k++ {
			b.do(m, o, k, k+1)
			now := clockNs(clockThread)
			if now-before > worstNs {
				worstNs = now - before
			}
			before = now
		}
	}
	return worstNs
}

func (b *bench[K]) report(metric string, value float64) {
	fmt.Printf("1e%.0f entries\t%s\t%.6g\n", math.Log10(float64(b.entries)), metric, value)
}

func (b *bench[K]) reportTime(metric string, spentNs uint64, runs int) {
	b.report(metric, float64(spentNs)/float64(b.entries*b.copies*runs))
}

func (b *bench[K]) iterate(m map[K]int64) uint64 {
	count, sum := 0, int64(0)
	start := nowNs()
	for _, value := range m {
		sum += value
		count++
	}
	spent := nowNs() - start
	if count != b.entries || sum < 0 {
		fail("iteration saw %d entries", count)
	}
	return spent
}

func (b *bench[K]) build() (spentNs uint64) {
	for c := 0; c < b.copies; c++ {
		b.maps[c] = make(map[K]int64)
		spentNs += b.run(b.maps[c], opPut, 1)
	}
	return spentNs
}

func (b *bench[K]) measureBytes() {
	debug.FreeOSMemory()
	before := rssBytes()
	b.build()
	debug.FreeOSMemory()
	b.report("bytes an entry", float64(rssBytes()-before)/float64(b.entries*b.copies))
	runtime.KeepAlive(b)
}

func (b *bench[K]) measureTimes() {
	var hit, miss, iterate, del uint64
	b.reportTime("insert ns", b.build(), 1)
	for c := 0; c < b.copies; c++ {
		hit += b.run(b.maps[c], opHit, b.runs)
		miss += b.run(b.maps[c], opMiss, b.runs)
		for r := 0; r < b.runs; r++ {
			iterate += b.iterate(b.maps[c])
		}
	}
	b.reportTime("hit ns", hit, b.runs)
	b.reportTime("miss ns", miss, b.runs)
	b.reportTime("iterate ns", iterate, b.runs)
	for c := 0; c < b.copies; c++ {
		del += b.run(b.maps[c], opDelete, 1)
	}
	b.maps = [copies]map[K]int64{}
	b.reportTime("delete ns", del, 1)
}

func (b *bench[K]) measureWorst() {
	m := make(map[K]int64)
	put, del := float64(b.worst(m, opPut)), float64(b.worst(m, opDelete))
	b.report("worst insert us", put/1e3)
	b.report("worst delete us", del/1e3)
	b.report("worst of both us", math.Max(put, del)/1e3)
}

func (b *bench[K]) measure(what int) {
	switch what {
	case 0:
		b.measureTimes()
	case 1:
		b.measureBytes()
	case 2:
		b.measureWorst()
	default:
		fail("--measure takes 0, 1 or 2")
	}
}

func main() {
	entries := flag.Int("entries", 100000, "entries of a map")
	isString := flag.Bool("strings", false, "string keys")
	what := flag.Int("measure", 0, "0: times, 1: bytes, 2: the worst operations")
	flag.Parse()
	if *isString {
		newBench[string](&stringKeys{}, *entries).measure(*what)
	} else {
		newBench[int64](intKeys{}, *entries).measure(*what)
	}
}
