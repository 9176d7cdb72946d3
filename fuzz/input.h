/* input.h - what fuzz targets share: the input as a source of numbers, and a check that aborts. */
#ifndef EBB_FUZZ_INPUT_H
#define EBB_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(cond)                                         \
 do {                                                         \
  if (!(cond)) {                                              \
   fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
   abort();                                                   \
  }                                                           \
 } while (0)

/* What is left of the input: [at, end). */
struct input {
    const uint8_t *at, *end;
};

/* The next bytes as a number; zeros follow the end. */
static inline uint32_t input_take(struct input *in, unsigned bytes) {
    uint32_t number = 0;
    while (bytes-- > 0) number = number << 8 | (in->at < in->end ? *in->at++ : 0);
    return number;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
