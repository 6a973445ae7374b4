//! How the kernels of `worker/kernels` are launched: grid, block and parameters, as the head of each file asks. A GPU
//! gets these launches, and the tests emulate the same ones on the CPU
//! (docs/decisions/0011-kernels-played-by-threads.md).
//!
//! Buffers are of any type `B`: addresses for a GPU, contents for a test. The tensors are contiguous.

use super::arguments::LinearStep;

/// Most threads of a block: the kernels' `__launch_bounds__`.
const BLOCK: usize = 256;
/// Threads of a warp.
const WARP: usize = 32;
/// Most blocks along y, on any GPU.
const MOST_Y: usize = 65_535;
/// Most blocks along x, on any GPU.
const MOST_X: usize = i32::MAX as usize;
/// Numbers that a thread loads at once: 16 bytes of a 16-bit type.
const PACK: usize = 8;
/// Numbers of a group for each block.
const SPLIT: usize = 8192;
/// Most blocks of a group: the second kernel has one lane for each.
const MOST_SPLITS: usize = 32;

/// A function of `worker/kernels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `group_norm.cu`, first.
    GroupNormStatistics,
    /// `group_norm.cu`, second.
    GroupNormApply,
    /// `layer_norm.cu`.
    LayerNorm,
    /// `geglu.cu`.
    Geglu,
    /// `bias_residual.cu`.
    BiasResidual,
    /// `guidance_step.cu`.
    GuidanceStep,
    /// `pixels.cu`.
    Pixels,
    /// `finite.cu`.
    Finite,
}

impl Function {
    /// Its name without the type's suffix.
    pub fn name(self) -> &'static str {
        match self {
            Self::GroupNormStatistics => "group_norm_statistics",
            Self::GroupNormApply => "group_norm_apply",
            Self::LayerNorm => "layer_norm",
            Self::Geglu => "geglu",
            Self::BiasResidual => "bias_residual",
            Self::GuidanceStep => "guidance_step",
            Self::Pixels => "pixels",
            Self::Finite => "finite",
        }
    }
}

/// A grid of blocks, each of threads along x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x.
    pub x: usize,
    /// Blocks along y.
    pub y: usize,
    /// Threads of a block.
    pub threads: usize,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument<B> {
    /// A pointer to a buffer.
    Buffer(B),
    /// A null pointer.
    Null,
    /// `Index` of `numbers.cuh`, which has 64 bits.
    Index(usize),
    /// `int`.
    Int(usize),
    /// `float`.
    Float(f32),
}

/// One launch of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch<B> {
    /// What is launched.
    pub function: Function,
    /// With how many threads.
    pub grid: Grid,
    /// With which parameters, in order.
    pub arguments: Vec<Argument<B>>,
}

/// `rows` rows, as many as a grid may have; the kernel walks over the others.
fn rows(rows: usize) -> usize {
    rows.clamp(1, MOST_X)
}

/// Blocks that share a row of `width` numbers, and the threads of each, in whole warps. A thread takes `each` numbers
/// at once; there are just enough blocks to take all numbers at once.
fn shares(width: usize, each: usize) -> (usize, usize) {
    let parts = width.div_ceil(each).max(1);
    let blocks = parts.div_ceil(BLOCK).min(MOST_Y);
    (blocks, parts.div_ceil(blocks).next_multiple_of(WARP).min(BLOCK))
}

fn grid(x: usize, (y, threads): (usize, usize)) -> Grid {
    Grid { x, y, threads }
}

/// The sizes of a group norm: [B, C, A].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupNorm {
    /// B.
    pub batch: usize,
    /// C.
    pub channels: usize,
    /// Groups of channels; a divisor of C.
    pub groups: usize,
    /// A: height times width.
    pub area: usize,
}

impl GroupNorm {
    fn group(&self) -> usize {
        self.channels / self.groups * self.area
    }

    /// How many blocks share a group, for both launches.
    pub fn splits(&self) -> usize {
        self.group().div_ceil(SPLIT).clamp(1, MOST_SPLITS)
    }

    /// The moments of each split of each group, `parts` \[B * groups, splits, 3\] in f32. `None` if there are more
    /// groups than a grid can have.
    pub fn statistics<B>(&self, splits: usize, x: B, parts: B) -> Option<Launch<B>> {
        let groups = self.batch * self.groups;
        let (_, threads) = shares(self.group().div_ceil(splits), PACK);
        (groups <= MOST_Y).then(|| Launch {
            function: Function::GroupNormStatistics,
            grid: grid(splits, (groups, threads)),
            arguments: vec![Argument::Buffer(x), Argument::Buffer(parts), Argument::Index(self.group())],
        })
    }

    /// Normalises; `weight` and `bias` \[C\]. `y` may be `x`. `None` if there are more channels than a grid can have.
    pub fn apply<B>(
        &self,
        splits: usize,
        [x, weight, bias, parts, y]: [B; 5],
        eps: f64,
        silu: bool,
    ) -> Option<Launch<B>> {
        let planes = self.batch * self.channels;
        (planes <= MOST_X).then(|| Launch {
            function: Function::GroupNormApply,
            grid: grid(planes, shares(self.area, PACK)),
            arguments: vec![
                Argument::Buffer(x),
                Argument::Buffer(weight),
                Argument::Buffer(bias),
                Argument::Buffer(parts),
                Argument::Buffer(y),
                Argument::Index(self.channels),
                Argument::Index(self.area),
                Argument::Int(self.groups),
                Argument::Int(splits),
                Argument::Float(eps as f32),
                Argument::Int(silu.into()),
            ],
        })
    }
}

/// `x` and `y` \[count, width\]; `weight` and `bias` \[width\]. `y` may be `x`. `None` if there are more rows than a
/// grid can have.
pub fn layer_norm<B>(
    [x, weight, bias, y]: [B; 4],
    count: usize,
    width: usize,
    eps: f64,
) -> Option<Launch<B>> {
    let threads = width.div_ceil(PACK).next_multiple_of(WARP).clamp(WARP, BLOCK);
    (count <= MOST_X).then(|| Launch {
        function: Function::LayerNorm,
        grid: grid(rows(count), (1, threads)),
        arguments: vec![
            Argument::Buffer(x),
            Argument::Buffer(weight),
            Argument::Buffer(bias),
            Argument::Buffer(y),
            Argument::Index(width),
            Argument::Float(eps as f32),
        ],
    })
}

/// `x` \[count, 2 width\], `y` \[count, width\].
pub fn geglu<B>(x: B, y: B, count: usize, width: usize) -> Launch<B> {
    Launch {
        function: Function::Geglu,
        grid: grid(rows(count), shares(width, PACK)),
        arguments: vec![
            Argument::Buffer(x),
            Argument::Buffer(y),
            Argument::Index(count),
            Argument::Index(width),
        ],
    }
}

/// `x`, `residual` and `y` \[outer, channels, inner\]; `bias` \[channels\]. `y` may be `x` or `residual`.
pub fn bias_residual<B>(
    [x, bias, y]: [B; 3],
    residual: Option<B>,
    [outer, channels, inner]: [usize; 3],
) -> Launch<B> {
    let (count, width) = if inner == 1 { (outer, channels) } else { (outer * channels, inner) };
    Launch {
        function: Function::BiasResidual,
        grid: grid(rows(count), shares(width, PACK)),
        arguments: vec![
            Argument::Buffer(x),
            Argument::Buffer(bias),
            residual.map_or(Argument::Null, Argument::Buffer),
            Argument::Buffer(y),
            Argument::Index(outer),
            Argument::Index(channels),
            Argument::Index(inner),
        ],
    }
}

/// All buffers have `count` numbers; the predictions may be one. `next` or `denoised` may be `sample`.
pub fn guidance_step<B>(
    [negative, positive, sample, next]: [B; 4],
    denoised: Option<B>,
    count: usize,
    scale: f64,
    LinearStep { a, b, c, d }: LinearStep,
) -> Launch<B> {
    Launch {
        function: Function::GuidanceStep,
        // A thread takes 16 bytes of the latents.
        grid: grid(1, (count.div_ceil(BLOCK * 4).clamp(1, MOST_Y), BLOCK)),
        arguments: vec![
            Argument::Buffer(negative),
            Argument::Buffer(positive),
            Argument::Buffer(sample),
            Argument::Buffer(next),
            denoised.map_or(Argument::Null, Argument::Buffer),
            Argument::Index(count),
            Argument::Float(scale as f32),
            Argument::Float(a as f32),
            Argument::Float(b as f32),
            Argument::Float(c as f32),
            Argument::Float(d as f32),
        ],
    }
}

/// `images` \[pictures, 3, area\], `rgb` \[pictures, area, 3\] bytes, `broken` one u32.
pub fn pixels<B>(images: B, rgb: B, broken: B, pictures: usize, area: usize) -> Launch<B> {
    Launch {
        function: Function::Pixels,
        // A thread writes four pixels.
        grid: grid(rows(pictures), shares(area, 4)),
        arguments: vec![
            Argument::Buffer(images),
            Argument::Buffer(rgb),
            Argument::Buffer(broken),
            Argument::Index(pictures),
            Argument::Index(area),
        ],
    }
}

/// `x` \[count\], `broken` one u32.
pub fn finite<B>(x: B, broken: B, count: usize) -> Launch<B> {
    Launch {
        function: Function::Finite,
        // A thread takes four packs.
        grid: grid(1, (count.div_ceil(BLOCK * PACK * 4).clamp(1, MOST_Y), BLOCK)),
        arguments: vec![Argument::Buffer(x), Argument::Buffer(broken), Argument::Index(count)],
    }
}
