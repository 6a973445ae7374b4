// A decoder's output as 8-bit pixels, as `Rgb::from_tensor` of `pipeline/picture.rs` and diffusers'
// `VaeImageProcessor.postprocess`: x / 2 + 1/2, clamped to 0..1, times 255, rounded half to even as numpy rounds.
//
// images [B, 3, A] in -1..1 with A = height * width; rgb [B, A, 3] bytes. `broken` becomes 1 if a number is NaN or
// infinite, and is left alone otherwise: the caller clears it before and reads it with the pixels.
//
// No product is followed by a sum that it could be fused with but x / 2, which is exact: the same bytes with and
// without fused multiply-add.
//
// pixels: grid (B, chunks), block up to 256; chunks ceil(A / (256 * 4)), at least 1 and at most 65,535. Any smaller grid
// is right too. No dynamic shared memory.
#include "numbers.cuh"

// Pixels of one thread, whose 12 bytes are three words.
constexpr int PIXELS = 4;

__device__ inline unsigned char quantised(float x) {
    return static_cast<unsigned char>(__float2int_rn(fminf(fmaxf(x / 2.0f + 0.5f, 0.0f), 1.0f) * 255.0f));
}

template <typename T>
__device__ void pixels(const T* images, unsigned char* rgb, unsigned* broken, Index pictures, Index area) {
    const Index first = (static_cast<Index>(blockIdx.y) * blockDim.x + threadIdx.x) * PIXELS;
    const Index stride = static_cast<Index>(gridDim.y) * blockDim.x * PIXELS;
    for (Index picture = blockIdx.x; picture < pictures; picture += gridDim.x) {
        for (Index at = first; at < area; at += stride) {
            unsigned char bytes[3 * PIXELS] = {};
            const Index left = area - at;
            const int count = left < PIXELS ? static_cast<int>(left) : PIXELS;
            for (int channel = 0; channel < 3; channel++) {
                const T* plane = images + (picture * 3 + channel) * area;
                for (int i = 0; i < PIXELS; i++) {
                    if (i < count) {
                        const float x = widen(plane[at + i]);
                        if (!isfinite(x)) *broken = 1;
                        bytes[3 * i + channel] = quantised(x);
                    }
                }
            }
            unsigned char* to = rgb + (picture * area + at) * 3;
            if (count == PIXELS && reinterpret_cast<unsigned long long>(to) % 4 == 0) {
                for (int word = 0; word < 3; word++) {
                    const unsigned char* b = bytes + 4 * word;
                    reinterpret_cast<unsigned*>(to)[word] =
                        b[0] | unsigned(b[1]) << 8 | unsigned(b[2]) << 16 | unsigned(b[3]) << 24;
                }
            } else {
                for (int i = 0; i < 3 * PIXELS; i++) {
                    if (i < 3 * count) to[i] = bytes[i];
                }
            }
        }
    }
}

#define PIXELS_OF(T, NAME)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256)                                                        \
        pixels_##NAME(const T* images, unsigned char* rgb, unsigned* broken, Index pictures, Index area) {   \
        pixels(images, rgb, broken, pictures, area);                                                         \
    }
FOR_EACH_TYPE(PIXELS_OF)
