// Classifier-free guidance (Ho and Salimans 2022) and the update of a sampler that is linear in latents and
// prediction, in one pass:
//
//     guided   = negative + scale * (positive - negative)
//     next     = a * sample + b * guided
//     denoised = c * sample + d * guided
//
// negative, positive: the UNet's predictions, in its type; sample, next, denoised: latents in f32; all [count].
// Without guidance both predictions are the same pointer. `denoised`, of which previews are made, may be null.
// next or denoised may be sample.
//
// Coefficients, computed in f64 and rounded once, with s the noise level, t the next and r = t / s:
//     Euler, epsilon       a = 1, b = t - s;    c = 1, d = -s
//     Euler, v_prediction  c = 1 / (s s + 1), d = -s / sqrt(s s + 1);    a = r + (1 - r) c, b = (1 - r) d
//     DDIM, without clip   alpha, sigma and alpha', sigma' of this level and the next:
//                          c = 1 / alpha, d = -sigma / alpha;    a = alpha' c, b = alpha' d + sigma'    (epsilon)
// Not linear, so not for this kernel: `guidance_rescale`, `clip_sample`; fresh noise is added by the caller.
//
// guidance_step: grid (1, blocks), block 256; blocks ceil(count / (256 * 4)), at least 1 and at most 65,535. Any smaller
// grid is right too. No dynamic shared memory.
#include "numbers.cuh"

template <typename T>
__device__ void guidance_step(const T* negative, const T* positive, const float* sample, float* next, float* denoised,
                              Index count, float scale, float a, float b, float c, float d) {
    // Packs of the latents: 4 numbers.
    for (Index at = first_pack<float>(); at < count; at += pack_stride<float>()) {
        const Values<float> x = load(sample, at, count);
        Values<float> stepped = x, estimate = x;
        for (int i = 0; i < PACK<float>; i++) {
            if (i < x.count) {
                const float away = widen(negative[at + i]);
                const float guided = away + scale * (widen(positive[at + i]) - away);
                stepped.v[i] = a * x.v[i] + b * guided;
                estimate.v[i] = c * x.v[i] + d * guided;
            }
        }
        store(next, at, count, stepped);
        if (denoised) store(denoised, at, count, estimate);
    }
}

#define GUIDANCE_STEP(T, NAME)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        guidance_step_##NAME(const T* negative, const T* positive, const float* sample, float* next,         \
                             float* denoised, Index count, float scale, float a, float b, float c,           \
                             float d) {                                                                      \
        guidance_step(negative, positive, sample, next, denoised, count, scale, a, b, c, d);                 \
    }
FOR_EACH_TYPE(GUIDANCE_STEP)
