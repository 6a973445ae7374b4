// Layer normalisation (Ba, Kiros and Hinton 2016): `ops::layer_norm`, diffusers' `norm1` to `norm3` of
// `BasicTransformerBlock`, and the norms of both text encoders.
//
// x, y [rows, width]; weight, bias [width]. A block per row, which it reads twice: the second time from its cache.
//
// layer_norm: grid (rows), block a multiple of 32 up to 256; best is width / 8 rounded up to one.
// No dynamic shared memory. y may be x.
#include "moments.cuh"

template <typename T>
__device__ void layer_norm(const T* x, const T* weight, const T* bias, T* y, Index width, float eps) {
    x += blockIdx.x * width;
    y += blockIdx.x * width;
    const Index first = threadIdx.x * PACK<T>, stride = blockDim.x * PACK<T>;

    Moments own = {0.0f, 0.0f, 0.0f};
    for (Index at = first; at < width; at += stride) own = merge(own, moments(load(x, at, width)));
    const Moments all = block_moments(own);
    const float scale = scale_of(all, eps);

    for (Index at = first; at < width; at += stride) {
        Values<T> values = load(x, at, width);
        const Values<T> w = load(weight, at, width), b = load(bias, at, width);
        for (int i = 0; i < PACK<T>; i++) values.v[i] = (values.v[i] - all.mean) * scale * w.v[i] + b.v[i];
        store(y, at, width, values);
    }
}

#define LAYER_NORM(T, NAME)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        layer_norm_##NAME(const T* x, const T* weight, const T* bias, T* y, Index width, float eps) {        \
        layer_norm(x, weight, bias, y, width, eps);                                                          \
    }
FOR_EACH_TYPE(LAYER_NORM)
