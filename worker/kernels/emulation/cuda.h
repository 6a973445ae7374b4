// As much of CUDA C++ as the kernels use, for a C++17 compiler: a kernel's source compiles unchanged after this header,
// and `launch.cpp` plays it. What a kernel needs beyond this is added here.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#include "block.h"

#define EMULATED
#define __global__
#define __device__
#define __launch_bounds__(...)
// `memory.h` finds all of a block's shared memory as the thread-local variables of the program.
#define __shared__ thread_local

// Half precision: IEEE 754 binary16.
struct __half {
    uint16_t bits;
};
// The upper half of an f32.
struct __nv_bfloat16 {
    uint16_t bits;
};

namespace emulation {
template <typename To, typename From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace emulation

inline float __half2float(__half half) {
    using emulation::same_bits;
    const uint32_t sign = (half.bits & 0x8000u) << 16, rest = (half.bits & 0x7fffu) << 13;
    // Exponents begin at -112 of f32's; the product is exact, for subnormal numbers too.
    const float value = same_bits<float>(rest) * 0x1p112f;
    const uint32_t special = rest >= 0x0f800000u ? 0x7f800000u : 0;
    return same_bits<float>(same_bits<uint32_t>(value) | special | sign);
}

// To nearest, ties to even (after F. Giesen, "float->half variants").
inline __half __float2half(float value) {
    using emulation::same_bits;
    const uint32_t sign = same_bits<uint32_t>(value) >> 16 & 0x8000u;
    uint32_t rest = same_bits<uint32_t>(value) & 0x7fffffffu;
    if (rest > 0x7f800000u) {
        rest = 0x7fff;
    } else if (rest >= 0x47800000u) {
        rest = 0x7c00;
    } else if (rest < 0x38800000u) {
        // Subnormal: the last bit of x + 1/2 is the last bit of a subnormal half, so the sum rounds.
        rest = same_bits<uint32_t>(fabsf(value) + 0.5f) - same_bits<uint32_t>(0.5f);
    } else {
        rest = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1)) >> 13;
    }
    return {static_cast<uint16_t>(sign | rest)};
}

inline float __bfloat162float(__nv_bfloat16 value) {
    return emulation::same_bits<float>(static_cast<uint32_t>(value.bits) << 16);
}

// To nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16(float value) {
    const uint32_t bits = emulation::same_bits<uint32_t>(value);
    if (isnan(value)) return {0x7fff};
    return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

// To nearest, ties to even, as the C library rounds unless told otherwise; towards zero.
inline int __float2int_rn(float value) { return static_cast<int>(nearbyintf(value)); }
inline int __float2int_rz(float value) { return static_cast<int>(value); }

inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
// A macro, because some C libraries have a function of that name.
#define __expf(x) expf(x)

inline void __syncthreads() { emulation::pause(emulation::Wait::Barrier); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { emulation::exchange(mask, 0); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
    const emulation::Exchanged& all = emulation::exchange(mask, value);
    return all.from<T>(lane % 32);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
    const emulation::Exchanged& all = emulation::exchange(mask, value);
    const unsigned lane = threadIdx.x % 32;
    return all.from<T>(lane + distance < 32 ? lane + distance : lane);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
    const emulation::Exchanged& all = emulation::exchange(mask, value);
    return all.from<T>(threadIdx.x % 32 ^ bits);
}
inline int __any_sync(unsigned mask, int predicate) {
    const emulation::Exchanged& all = emulation::exchange(mask, predicate);
    int any = 0;
    for (int lane = 0; lane < 32; lane++) any = any || ((mask >> lane & 1) && all.from<int>(lane));
    return any;
}

template <typename T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to = before + value;
    return before;
}
