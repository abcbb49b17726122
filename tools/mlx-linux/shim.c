/* What mlx-rs asks of the system beyond mlx-c, where the system is not Apple's. */
#include <stdint.h>
#include <time.h>

#include "mlx/c/array.h"

/* Seeds mlx-rs' random numbers; on Apple's systems the kernel's clock. */
uint64_t mach_approximate_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#ifndef __aarch64__
/* mlx-c has the accessors of 16-bit floats only where the compiler has Arm's types; here they are seen as their bits. */
const uint16_t* mlx_array_data_float16(const mlx_array arr) {
  return mlx_array_data_uint16(arr);
}

const uint16_t* mlx_array_data_bfloat16(const mlx_array arr) {
  return mlx_array_data_uint16(arr);
}

/* One number: mlx_array_item_uint16 would convert it. */
static int item_bits(uint16_t* res, const mlx_array arr) {
  if (mlx_array_size(arr) != 1 || mlx_array_eval(arr) != 0) {
    return 1;
  }
  const uint16_t* bits = mlx_array_data_uint16(arr);
  if (bits == NULL) {
    return 1;
  }
  *res = *bits;
  return 0;
}

int mlx_array_item_float16(uint16_t* res, const mlx_array arr) {
  return item_bits(res, arr);
}

int mlx_array_item_bfloat16(uint16_t* res, const mlx_array arr) {
  return item_bits(res, arr);
}
#endif
