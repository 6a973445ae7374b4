// Small kernels, right ones and ones with a mistake, that the emulation itself is tested with.
#include "numbers.cuh"

#define CONVERSIONS(T, NAME)                                                      \
    extern "C" __global__ void widen_##NAME(const T* x, float* y) {               \
        const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; \
        y[i] = widen(x[i]);                                                       \
    }                                                                             \
    extern "C" __global__ void narrow_##NAME(const float* x, T* y) {              \
        const Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; \
        narrow(x[i], y[i]);                                                       \
    }
FOR_EACH_TYPE(CONVERSIONS)

// y = x backwards, 64 numbers, twice.
extern "C" __global__ void backwards(const float* x, float* y) {
    __shared__ float all[64];
    for (int round = 0; round < 2; round++) {
        all[threadIdx.x] = x[threadIdx.x] + round;
        __syncthreads();
        y[64 * round + threadIdx.x] = all[63 - threadIdx.x];
        __syncthreads();
    }
}

extern "C" __global__ void backwards_read_too_early(const float* x, float* y) {
    __shared__ float all[64];
    for (int round = 0; round < 2; round++) {
        all[threadIdx.x] = x[threadIdx.x] + round;
        y[64 * round + threadIdx.x] = all[63 - threadIdx.x];
        __syncthreads();
    }
}

extern "C" __global__ void backwards_written_too_early(const float* x, float* y) {
    __shared__ float all[64];
    for (int round = 0; round < 2; round++) {
        all[threadIdx.x] = x[threadIdx.x] + round;
        __syncthreads();
        y[64 * round + threadIdx.x] = all[63 - threadIdx.x];
    }
}

// Within a warp.
extern "C" __global__ void warp_backwards(const float* x, float* y) {
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    y[threadIdx.x] = all[threadIdx.x ^ 31];
}

extern "C" __global__ void warp_backwards_in_lockstep(const float* x, float* y) {
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = all[threadIdx.x ^ 31];
}

// The sum of a warp's numbers by both kinds of shuffles, and whether one of them is 7.
extern "C" __global__ void shuffles(const float* x, float* y) {
    float across = x[threadIdx.x], down = x[threadIdx.x];
    for (int distance = 16; distance > 0; distance /= 2) {
        across += __shfl_xor_sync(0xffffffffu, across, distance);
        down += __shfl_down_sync(0xffffffffu, down, distance);
    }
    y[threadIdx.x] = across;
    y[64 + threadIdx.x] = __any_sync(0xffffffffu, x[threadIdx.x] == 7.0f) ? __shfl_sync(0xffffffffu, down, 0) : 0.0f;
}

extern "C" __global__ void half_a_warp(const float* x, float* y) {
    float value = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) value = __shfl_xor_sync(0x0000ffffu, value, 1);
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, value, 16);
}

extern "C" __global__ void lane_outside_the_mask(const float* x, float* y) {
    if (threadIdx.x % 32 < 16) y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, x[threadIdx.x], 16);
}

extern "C" __global__ void lane_that_leaves(const float* x, float* y) {
    if (threadIdx.x == 3) return;
    y[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
}

extern "C" __global__ void barrier_for_some(const float* x, float* y) {
    if (threadIdx.x < 40) __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void reads_behind(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }

extern "C" __global__ void reads_before(const float* x, float* y) {
    y[threadIdx.x] = x[static_cast<Index>(threadIdx.x) - 1024];
}

extern "C" __global__ void writes_behind(const float* x, float* y) { y[threadIdx.x + 128] = x[threadIdx.x]; }

extern "C" __global__ void index_out_of_shared_memory(const float* x, float* y) {
    __shared__ float all[32];
    all[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = all[threadIdx.x];
}

extern "C" __global__ void misaligned_pack(const float* x, float* y) {
    if (threadIdx.x == 0) *reinterpret_cast<Pack<float>*>(y) = *reinterpret_cast<const Pack<float>*>(x + 1);
}

// The first thread to come decides.
extern "C" __global__ void race(const float* x, float* y, unsigned* comers) {
    if (atomicAdd(comers, 1u) == 0) y[0] = x[threadIdx.x];
}
