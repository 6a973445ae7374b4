// What follows a convolution or a linear layer: y = x + bias + residual, in one pass.
//
// x, y, residual [outer, channels, inner], bias [channels]. NCHW: inner is height * width; last axis: inner is 1.
// residual may be null. A bias for each picture and channel, as the time embedding of diffusers' `ResnetBlock2D`, is
// one [B * C] with channels = B * C.
//
// The bias is one number of each row of `inner`, or, if inner is 1, a row of its own beside rows of `channels`.
//
// bias_residual: grid (rows, chunks), block up to 256, with rows = outer * channels, or outer if inner is 1, and chunks
// ceil(row / (256 * 8)), at least 1 and at most 65,535. Any smaller grid is right too. No dynamic shared memory.
// y may be x or residual.
#include "numbers.cuh"

template <typename T>
__device__ void bias_residual(const T* x, const T* bias, const T* residual, T* y, Index outer, Index channels,
                              Index inner) {
    const bool last_axis = inner == 1;
    const Index rows = last_axis ? outer : outer * channels;
    const Index width = last_axis ? channels : inner;
    for (Index row = blockIdx.x; row < rows; row += gridDim.x) {
        const float shared = last_axis ? 0.0f : widen(bias[row % channels]);
        for (Index at = first_pack<T>(); at < width; at += pack_stride<T>()) {
            Values<T> values = load(x + row * width, at, width);
            if (last_axis) {
                const Values<T> own = load(bias, at, width);
                for (int i = 0; i < PACK<T>; i++) values.v[i] += own.v[i];
            } else {
                for (int i = 0; i < PACK<T>; i++) values.v[i] += shared;
            }
            if (residual) {
                const Values<T> more = load(residual + row * width, at, width);
                for (int i = 0; i < PACK<T>; i++) values.v[i] += more.v[i];
            }
            store(y + row * width, at, width, values);
        }
    }
}

#define BIAS_RESIDUAL(T, NAME)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        bias_residual_##NAME(const T* x, const T* bias, const T* residual, T* y, Index outer,                \
                             Index channels, Index inner) {                                                  \
        bias_residual(x, bias, residual, y, outer, channels, inner);                                         \
    }
FOR_EACH_TYPE(BIAS_RESIDUAL)
