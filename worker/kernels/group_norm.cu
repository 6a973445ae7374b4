// Group normalisation (Wu and He 2018) and the SiLU that follows it in diffusers' `ResnetBlock2D`: `ops::group_norm`.
//
// x, y [B, C, A] with A = height * width; weight, bias [C]; G groups of C / G channels, S splits of each group.
// One group is C / G * A numbers side by side, a million and more in the VAE, so several blocks share it. A kernel
// cannot wait for other blocks, hence two: the first takes each split's moments, the second merges and applies them.
//
// 1. group_norm_statistics: grid (S, B * G), block a multiple of 32 up to 256, parts [B * G, S] of 12 bytes.
//    S in 1..=32; ceil(C / G * A / 8192) gives 64 groups of SDXL 320 blocks of 256 and more, for an H100's 132 SMs.
// 2. group_norm_apply: grid (B * C, chunks), block a multiple of 32 up to 256; chunks ceil(A / (256 * 8)), at least 1.
//    `splits` is S. y may be x.
//
// No dynamic shared memory. B * G and chunks are at most 65,535.
#include "moments.cuh"

template <typename T>
__device__ void group_norm_statistics(const T* x, Moments* parts, Index size) {
    const Index group = blockIdx.y, splits = gridDim.x;
    // Whole packs, so that a split of an aligned group is aligned.
    const Index split = ((size + splits - 1) / splits + PACK<T> - 1) / PACK<T> * PACK<T>;
    const Index begin = blockIdx.x * split;
    const Index end = begin + split < size ? begin + split : size;

    Moments own = {0.0f, 0.0f, 0.0f};
    for (Index at = begin + threadIdx.x * PACK<T>; at < end; at += blockDim.x * PACK<T>) {
        own = merge(own, moments(load(x + group * size, at, end)));
    }
    const Moments all = block_moments(own);
    if (threadIdx.x == 0) parts[group * splits + blockIdx.x] = all;
}

template <typename T>
__device__ void group_norm_apply(const T* x, const T* weight, const T* bias, const Moments* parts, T* y,
                                 Index channels, Index area, int groups, int splits, float eps, int silu) {
    const Index plane = blockIdx.x;
    const Index channel = plane % channels;
    const Index group = plane / (channels / groups);
    const int lane = threadIdx.x % 32;

    // Every warp merges for itself: cheaper than a barrier.
    const Moments all =
        warp_moments(lane < splits ? parts[group * splits + lane] : Moments{0.0f, 0.0f, 0.0f});
    const float a = scale_of(all, eps) * widen(weight[channel]);
    const float b = widen(bias[channel]) - all.mean * a;

    for (Index at = first_pack<T>(); at < area; at += pack_stride<T>()) {
        Values<T> values = load(x + plane * area, at, area);
        for (int i = 0; i < PACK<T>; i++) {
            const float normal = values.v[i] * a + b;
            values.v[i] = silu ? normal / (1.0f + __expf(-normal)) : normal;
        }
        store(y + plane * area, at, area, values);
    }
}

// `size` is C / G * A.
#define STATISTICS(T, NAME)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        group_norm_statistics_##NAME(const T* x, Moments* parts, Index size) {                               \
        group_norm_statistics(x, parts, size);                                                               \
    }
FOR_EACH_TYPE(STATISTICS)

// `silu` is 1 or 0.
#define APPLY(T, NAME)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        group_norm_apply_##NAME(const T* x, const T* weight, const T* bias, const Moments* parts, T* y,      \
                                Index channels, Index area, int groups, int splits, float eps, int silu) {   \
        group_norm_apply(x, weight, bias, parts, y, channels, area, groups, splits, eps, silu);              \
    }
FOR_EACH_TYPE(APPLY)
