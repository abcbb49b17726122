// In front of every C++ file that zig compiles for macOS.
#pragma once

// zig brings a C++ library of its own and lets its headers use all of it. The binary shall use the one of macOS, and
// LLVM's headers know what that has in which version: without this, the newest functions would be missing on macOS 14.
#undef _LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS
#define _LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS 1

// zig's headers for macOS leave INFINITY and NAN to the compiler's float.h, and nothing there includes that.
#include <float.h>
#ifndef INFINITY
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#endif
