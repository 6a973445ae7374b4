// Whether numbers are numbers, without waiting for the answer: `ops::is_finite`.
//
// x [count]. `broken` becomes 1 if a number is NaN or infinite, and is left alone otherwise: one flag can gather many
// launches, and the caller clears it and reads it when it next waits for the device anyway.
//
// finite: grid (1, blocks), block a multiple of 32 up to 256; blocks ceil(count / (256 * 8 * 4)), at least 1 and at most
// 65,535. Any smaller grid is right too. No dynamic shared memory.
#include "numbers.cuh"

template <typename T>
__device__ void finite(const T* x, unsigned* broken, Index count) {
    bool found = false;
    for (Index at = first_pack<T>(); at < count; at += pack_stride<T>()) {
        const Values<T> values = load(x, at, count);
        for (int i = 0; i < PACK<T>; i++) found = found || !isfinite(values.v[i]);
    }
    // One write for a warp; they all write the same.
    if (__any_sync(0xffffffffu, found) && threadIdx.x % 32 == 0) *broken = 1;
}

#define FINITE(T, NAME)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256) finite_##NAME(const T* x, unsigned* broken, Index count) { \
        finite(x, broken, count);                                                                            \
    }
FOR_EACH_TYPE(FINITE)
