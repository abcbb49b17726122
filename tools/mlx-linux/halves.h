// In front of mlx-c's headers where the compiler has not Arm's types: the 16-bit floats by names that mlx-c gives them.
#pragma once
#include <stdint.h>
#ifndef __aarch64__
#define HAS_FLOAT16
#define HAS_BFLOAT16
typedef _Float16 float16_t;
typedef uint16_t bfloat16_t;
#endif
