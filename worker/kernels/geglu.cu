// Gated linear unit with the exact GELU (Shazeer 2020, "GLU Variants Improve Transformer"; diffusers' `GEGLU`):
// `ops::geglu`. Of each row the first half is the value and the second half, through GELU, its gate.
//
// x [rows, 2 * width], y [rows, width].
//
// geglu: grid (rows, chunks), block up to 256; chunks ceil(width / (256 * 8)), at least 1 and at most 65,535.
// Any smaller grid is right too. No dynamic shared memory.
#include "numbers.cuh"

__device__ inline float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.707106781f)); }

template <typename T>
__device__ void geglu(const T* x, T* y, Index rows, Index width) {
    for (Index row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* value = x + row * 2 * width;
        const T* gate = value + width;
        for (Index at = first_pack<T>(); at < width; at += pack_stride<T>()) {
            Values<T> values = load(value, at, width);
            const Values<T> gates = load(gate, at, width);
            for (int i = 0; i < PACK<T>; i++) values.v[i] *= gelu(gates.v[i]);
            store(y + row * width, at, width, values);
        }
    }
}

#define GEGLU(T, NAME)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        geglu_##NAME(const T* x, T* y, Index rows, Index width) {                                            \
        geglu(x, y, rows, width);                                                                            \
    }
FOR_EACH_TYPE(GEGLU)
