// Mean and variance in one pass over memory. A sum of squares would cancel where the mean is far from 0; here each
// pack is centred on its own mean in registers, and moments are merged (Chan, Golub and LeVeque 1983, "Algorithms for
// Computing the Sample Variance", equation 2.1).
#pragma once

#include "numbers.cuh"

struct Moments {
    float count;
    float mean;
    // Sum of squared distances from the mean.
    float square;
};

__device__ inline Moments merge(Moments a, Moments b) {
    const float count = a.count + b.count;
    const float share = count > 0.0f ? b.count / count : 0.0f;
    const float distance = b.mean - a.mean;
    return {count, a.mean + distance * share, a.square + b.square + distance * distance * a.count * share};
}

template <typename T>
__device__ inline Moments moments(const Values<T>& values) {
    float sum = 0.0f;
    for (int i = 0; i < PACK<T>; i++) sum += values.v[i];
    const float count = static_cast<float>(values.count);
    const float mean = sum / count;
    float square = 0.0f;
    for (int i = 0; i < PACK<T>; i++) {
        const float distance = i < values.count ? values.v[i] - mean : 0.0f;
        square += distance * distance;
    }
    return {count, mean, square};
}

// Of all numbers of a warp's threads, in each of them.
__device__ inline Moments warp_moments(Moments own) {
    const unsigned all = 0xffffffffu;
    for (int distance = 16; distance > 0; distance /= 2) {
        const Moments other = {
            __shfl_down_sync(all, own.count, distance),
            __shfl_down_sync(all, own.mean, distance),
            __shfl_down_sync(all, own.square, distance),
        };
        own = merge(own, other);
    }
    // Lane 0 has them all; the same numbers for every thread, to the last bit.
    return {__shfl_sync(all, own.count, 0), __shfl_sync(all, own.mean, 0), __shfl_sync(all, own.square, 0)};
}

// Of all numbers of a block's threads, in each of them. Once per kernel: a second call would need a barrier before it.
__device__ inline Moments block_moments(Moments own) {
    __shared__ Moments parts[32];
    own = warp_moments(own);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    if (lane == 0) parts[warp] = own;
    __syncthreads();
    return warp_moments(lane < warps ? parts[lane] : Moments{0.0f, 0.0f, 0.0f});
}

// 1 / sqrt(variance + eps), the variance of the whole population as in torch's norms.
__device__ inline float scale_of(Moments all, float eps) { return rsqrtf(all.square / all.count + eps); }
