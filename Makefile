# What people type; CMakeLists.txt builds, scripts/ does the rest. Settings:
#   make tour TOUR=--quick       make install PREFIX=/usr DESTDIR=/tmp/package
#   make soak MINUTES=30         make fuzz FUZZ_SECONDS=60
.PHONY: all tour check check-sanitizers check-libgc check-aarch64 model bench fuzz soak format install deps clean
.NOTPARALLEL:

PREFIX ?= /usr/local
MINUTES ?= 30
FUZZ_SECONDS ?= 60
TOUR ?=

all: deps-build
	@scripts/build release

# The four stories, run for real on this machine.
tour: deps-build
	@scripts/build release
	@build/release/ebb tour --out build/tour $(TOUR)

# Everything that has to hold before a commit; ends with "N passed, N failed".
check: deps-check
	@scripts/check

# Beyond that: Debian's programs on libgc.so.1 made of Ebb, the library under emulation, and every
# interleaving of a collection and a program, as Spin sees them. docs/testing.md.
check-sanitizers: deps-check
check-libgc: all deps-libgc
check-aarch64: deps-aarch64
model: deps-model
check-sanitizers check-libgc check-aarch64 model:
	@scripts/$@

bench: deps-bench
	@bench/run

fuzz: deps-fuzz
	@scripts/fuzz $(FUZZ_SECONDS)

# The tests again and again, with new seeds, in the stress modes.
soak: deps-build
	@scripts/soak $(MINUTES)

format: deps-format
	@scripts/format

install: all
	cmake --install build/release --prefix $(PREFIX)
	@[ -n "$(DESTDIR)" ] || ldconfig 2>/dev/null || true

# Installs what is missing, from Debian's packages. With all there it touches nothing.
deps:
	@scripts/deps all
deps-%:
	@scripts/deps $*

clean:
	rm -rf build
