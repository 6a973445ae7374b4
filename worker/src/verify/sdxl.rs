//! SDXL's shapes, of a picture of 1024x1024 with guidance: the most expensive and the most unusual ones of each model.

use candle_core::DType;

use super::case::Case;
use super::cases::{
    Besides, Conv, addends, attention, conv2d, finite, geglu, group_norm, guided_step, layer_norm, pixels,
};
use crate::sdxl::ops::{Activation, Channels, Mask, Padding};

/// How large the shapes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As in SDXL.
    Sdxl,
    /// About an eighth of the channels and a sixteenth of the side, for CPUs and tests.
    Small,
}

impl Scale {
    /// A number of channels that 32 groups divide, if they divide `n`. The channels of latents and pictures stay.
    fn channels(self, n: usize) -> usize {
        match self {
            Self::Small if n >= 32 => (n / 8).next_multiple_of(32),
            _ => n,
        }
    }

    /// The side of a picture.
    fn side(self, n: usize) -> usize {
        if self == Self::Small { n / 16 } else { n }
    }

    fn heads(self, n: usize) -> usize {
        if self == Self::Small { n.div_ceil(5) } else { n }
    }
}

/// The shapes of a model of this dtype. Those of the VAE also in f32, because many VAEs need it.
pub fn cases(dtype: DType, scale: Scale) -> Vec<Case> {
    let mut cases = Shapes { dtype, scale }.of_models();
    cases.extend(Shapes { dtype, scale }.of_vae());
    if dtype != DType::F32 {
        cases.extend(Shapes { dtype: DType::F32, scale }.of_vae());
    }
    cases
}

struct Shapes {
    dtype: DType,
    scale: Scale,
}

/// Both prompts of guidance.
const GUIDED: usize = 2;
/// The head size of UNet and text encoders.
const HEAD: usize = 64;
/// The tokens of a prompt.
const PROMPT: usize = 77;

impl Shapes {
    /// UNet, text encoders, TAESD and sampler.
    fn of_models(&self) -> Vec<Case> {
        let silu = Some(Activation::Silu);
        let dtype = self.dtype;
        vec![
            self.conv(GUIDED, 4, 320, 128, 3),
            self.conv(GUIDED, 320, 320, 128, 3),
            self.conv(GUIDED, 960, 320, 128, 3),
            self.conv(GUIDED, 960, 320, 128, 1),
            self.strided(GUIDED, 320, 128, Padding::even(1)),
            self.conv(GUIDED, 640, 640, 64, 3),
            self.conv(GUIDED, 1920, 640, 64, 1),
            self.strided(GUIDED, 640, 64, Padding::even(1)),
            self.conv(GUIDED, 1280, 1280, 32, 3),
            self.conv(GUIDED, 2560, 1280, 32, 3),
            self.conv(GUIDED, 320, 4, 128, 3),
            // TAESD.
            self.conv(1, 4, 64, 128, 3),
            self.conv(1, 64, 64, 1024, 3),
            self.conv(1, 64, 3, 1024, 3),
            self.self_attention(10, 64),
            self.self_attention(20, 32),
            self.cross_attention(10, 64),
            self.cross_attention(20, 32),
            self.causal_attention(12),
            self.causal_attention(20),
            self.group_norm(GUIDED, 320, 128, 1e-5, silu),
            self.group_norm(GUIDED, 960, 128, 1e-5, silu),
            self.group_norm(GUIDED, 1280, 32, 1e-5, silu),
            self.group_norm(GUIDED, 640, 64, 1e-6, None),
            self.group_norm(GUIDED, 1280, 32, 1e-6, None),
            layer_norm(dtype, self.tokens(640, 64)),
            layer_norm(dtype, self.tokens(1280, 32)),
            layer_norm(dtype, [1, PROMPT, self.scale.channels(768)]),
            layer_norm(dtype, [1, PROMPT, self.scale.channels(1280)]),
            geglu(dtype, self.tokens(2 * 2560, 64)),
            geglu(dtype, self.tokens(2 * 5120, 32)),
            self.after_conv(GUIDED, 320, 128, Besides::Shift),
            self.after_conv(GUIDED, 320, 128, Besides::Residual),
            self.after_conv(GUIDED, 1280, 32, Besides::Both),
            self.after_conv(GUIDED, 4, 128, Besides::Nothing),
            self.after_linear(self.tokens(640, 64), Besides::Residual),
            self.after_linear(self.tokens(1280, 32), Besides::Nothing),
            self.after_linear([1, PROMPT, self.scale.channels(768)], Besides::Nothing),
            guided_step(dtype, self.picture(1, 4, 128), true),
            guided_step(dtype, self.picture(1, 4, 128), false),
            finite(DType::F32, self.picture(1, 4, 128), None),
            finite(DType::F32, self.picture(1, 4, 128), Some(f32::NAN)),
            finite(DType::F32, self.picture(1, 4, 128), Some(f32::INFINITY)),
        ]
    }

    fn of_vae(&self) -> Vec<Case> {
        let silu = Some(Activation::Silu);
        let dtype = self.dtype;
        let tokens = self.scale.side(128).pow(2);
        vec![
            self.conv(1, 4, 512, 128, 3),
            self.conv(1, 512, 512, 128, 3),
            self.conv(1, 512, 512, 512, 3),
            self.conv(1, 256, 128, 1024, 3),
            self.conv(1, 256, 128, 1024, 1),
            self.conv(1, 128, 128, 1024, 3),
            self.conv(1, 128, 3, 1024, 3),
            // The encoder pads right and bottom.
            self.strided(1, 128, 1024, Padding { before: 0, after: 1 }),
            // One head, of all channels.
            attention(dtype, [1, tokens, 512], tokens, 1, Mask::None),
            self.group_norm(1, 512, 128, 1e-6, None),
            self.group_norm(1, 512, 128, 1e-6, silu),
            self.group_norm(1, 128, 1024, 1e-6, silu),
            self.after_conv(1, 128, 1024, Besides::Residual),
            pixels(dtype, self.picture(1, 3, 1024), None),
            pixels(dtype, self.picture(1, 3, 1024), Some(f32::NAN)),
        ]
    }

    fn picture(&self, batch: usize, channels: usize, side: usize) -> [usize; 4] {
        let side = self.scale.side(side);
        [batch, self.scale.channels(channels), side, side]
    }

    /// The input of a transformer block at this side: [B, T, C].
    fn tokens(&self, width: usize, side: usize) -> [usize; 3] {
        [GUIDED, self.scale.side(side).pow(2), self.scale.channels(width)]
    }

    fn conv(&self, batch: usize, inputs: usize, outputs: usize, side: usize, kernel: usize) -> Case {
        let (x, outputs) = (self.picture(batch, inputs, side), self.scale.channels(outputs));
        conv2d(self.dtype, Conv { x, outputs, kernel, stride: 1, padding: Padding::even(kernel / 2) })
    }

    fn strided(&self, batch: usize, channels: usize, side: usize, padding: Padding) -> Case {
        let x = self.picture(batch, channels, side);
        conv2d(self.dtype, Conv { x, outputs: x[1], kernel: 3, stride: 2, padding })
    }

    fn self_attention(&self, heads: usize, side: usize) -> Case {
        let tokens = self.scale.side(side).pow(2);
        let heads = self.scale.heads(heads);
        attention(self.dtype, [GUIDED, tokens, heads * HEAD], tokens, heads, Mask::None)
    }

    fn cross_attention(&self, heads: usize, side: usize) -> Case {
        let heads = self.scale.heads(heads);
        let q = [GUIDED, self.scale.side(side).pow(2), heads * HEAD];
        attention(self.dtype, q, PROMPT, heads, Mask::None)
    }

    fn causal_attention(&self, heads: usize) -> Case {
        let heads = self.scale.heads(heads);
        attention(self.dtype, [1, PROMPT, heads * HEAD], PROMPT, heads, Mask::Causal)
    }

    fn group_norm(
        &self,
        batch: usize,
        channels: usize,
        side: usize,
        eps: f64,
        activation: Option<Activation>,
    ) -> Case {
        group_norm(self.dtype, self.picture(batch, channels, side), eps, activation)
    }

    fn after_conv(&self, batch: usize, channels: usize, side: usize, besides: Besides) -> Case {
        addends(self.dtype, &self.picture(batch, channels, side), Channels::Second, besides)
    }

    fn after_linear(&self, product: [usize; 3], besides: Besides) -> Case {
        addends(self.dtype, &product, Channels::Last, besides)
    }
}
