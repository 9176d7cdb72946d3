/* standalone.c - drives a fuzz target without libFuzzer: random inputs for some seconds, or the
 * files that are named. Prints the seed, so that a failure can be had again.
 *
 *     fuzz_NAME -max_total_time=60     fuzz_NAME -seed=7 -runs=1000     fuzz_NAME crash-file … */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "input.h"

enum { INPUT_BYTES_MAX = 4096 };

static uint64_t random_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Runs of equal and of small bytes among the random ones: plain noise reaches little. */
static size_t input_make(uint8_t *input, uint64_t *state) {
    size_t size = (size_t)(random_next(state) % INPUT_BYTES_MAX), at = 0;
    while (at < size) {
        uint64_t choice = random_next(state);
        size_t run = 1 + (size_t)(choice >> 8) % 32;
        uint8_t mask = choice & 1 ? 0xff : 0x07;
        for (; run > 0 && at < size; run--)
            input[at++] = (uint8_t)(choice & 2 ? choice >> 16 : random_next(state)) & mask;
    }
    return size;
}

static bool file_run(const char *path) {
    static uint8_t input[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return false;
    }
    size_t size = fread(input, 1, sizeof input, file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, size);
    return true;
}

/* The number after "-name=" in an argument of that name, else the value that was. */
static uint64_t option_read(const char *argument, const char *name, uint64_t value) {
    size_t length = strlen(name);
    return strncmp(argument, name, length) == 0 ? strtoull(argument + length, NULL, 0) : value;
}

int main(int argc, char **argv) {
    static uint8_t input[INPUT_BYTES_MAX];
    time_t began = time(NULL);
    uint64_t seed = (uint64_t)began, seconds = UINT64_MAX, runs = UINT64_MAX, done = 0;
    bool files = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-') {
            files = true;
            if (!file_run(argv[i])) return EXIT_FAILURE;
        }
        seed = option_read(argv[i], "-seed=", seed);
        seconds = option_read(argv[i], "-max_total_time=", seconds);
        runs = option_read(argv[i], "-runs=", runs);
    }
    if (files) return EXIT_SUCCESS;
    printf("seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    uint64_t state = seed;
    for (; done < runs && (uint64_t)(time(NULL) - began) < seconds; done++)
        LLVMFuzzerTestOneInput(input, input_make(input, &state));
    printf("%llu inputs\n", (unsigned long long)done);
    return EXIT_SUCCESS;
}
