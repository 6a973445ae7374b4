// Numbers in memory and in registers. Kernels read f32, f16 or bf16, compute in f32 and round once, to nearest even,
// when they write: what the CPU operations of `sdxl/ops` do.
#pragma once

#ifndef EMULATED
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

// Sizes and offsets. A tensor may have more than 2^31 numbers.
using Index = long long;

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(__half value) { return __half2float(value); }
__device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ inline void narrow(float value, float& to) { to = value; }
__device__ inline void narrow(float value, __half& to) { to = __float2half(value); }
__device__ inline void narrow(float value, __nv_bfloat16& to) { to = __float2bfloat16(value); }

// Numbers in 16 bytes, the most that one load instruction takes.
template <typename T>
constexpr int PACK = 16 / sizeof(T);

// 16 bytes of memory. The alignment lets the compiler load them at once (as PyTorch's `aligned_vector`).
template <typename T>
struct alignas(16) Pack {
    T numbers[PACK<T>];
};

// A pack in registers. At the end of a row fewer numbers than fit may be there; the rest are 0.
template <typename T>
struct Values {
    float v[PACK<T>];
    int count;
};

// Whether numbers [at, at + PACK) are in the row and can be loaded at once.
template <typename T>
__device__ inline bool whole(const T* row, Index at, Index width) {
    const bool aligned = reinterpret_cast<unsigned long long>(row + at) % 16 == 0;
    return aligned && at + PACK<T> <= width;
}

// Numbers [at, at + PACK) of a row of `width`, as many as there are; at < width.
template <typename T>
__device__ inline Values<T> load(const T* row, Index at, Index width) {
    Values<T> values;
    if (whole(row, at, width)) {
        const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(row + at);
        values.count = PACK<T>;
        for (int i = 0; i < PACK<T>; i++) values.v[i] = widen(pack.numbers[i]);
    } else {
        const Index left = width - at;
        values.count = left < PACK<T> ? static_cast<int>(left) : PACK<T>;
        for (int i = 0; i < PACK<T>; i++) values.v[i] = i < values.count ? widen(row[at + i]) : 0.0f;
    }
    return values;
}

// Writes what `load` would read from there.
template <typename T>
__device__ inline void store(T* row, Index at, Index width, const Values<T>& values) {
    if (whole(row, at, width)) {
        Pack<T> pack;
        for (int i = 0; i < PACK<T>; i++) narrow(values.v[i], pack.numbers[i]);
        *reinterpret_cast<Pack<T>*>(row + at) = pack;
    } else {
        for (int i = 0; i < PACK<T>; i++) {
            if (i < values.count) narrow(values.v[i], row[at + i]);
        }
    }
}

// Where this thread begins in a row that blocks along y share, and how far it is to its next pack.
template <typename T>
__device__ inline Index first_pack() {
    return (static_cast<Index>(blockIdx.y) * blockDim.x + threadIdx.x) * PACK<T>;
}
template <typename T>
__device__ inline Index pack_stride() {
    return static_cast<Index>(gridDim.y) * blockDim.x * PACK<T>;
}

// Every kernel is compiled for the three types of tensors; `KERNEL` declares it for one.
#define FOR_EACH_TYPE(KERNEL) \
    KERNEL(float, f32)        \
    KERNEL(__half, f16)       \
    KERNEL(__nv_bfloat16, bf16)
