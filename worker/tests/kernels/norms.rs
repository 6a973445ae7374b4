//! `group_norm.cu` and `layer_norm.cu`.

use candle_core::{DType, Tensor};
use glimpse_worker::sdxl::ops::{self, Activation};

use super::close::{Numbers, SINGLE, close, limit};
use super::far;
use super::launch::{Finding, Launch, TYPES};
use super::program::Program;

const EPS: f64 = 1e-5;

/// Sizes of one launch: channels, groups, height and width, and the splits of a group.
type Sizes = (usize, usize, (usize, usize), usize);

/// A whole block where one does all, and else small ones, which are quicker to play.
fn block_for(splits: usize) -> usize {
    if splits == 1 { 256 } else { 64 }
}

/// The moments of each split of each group, in the form that the second kernel takes them.
fn statistics(
    program: &Program,
    suffix: &str,
    x: &Tensor,
    groups: usize,
    splits: usize,
) -> Result<Tensor, String> {
    let rows = x.dims()[0] * groups;
    let launch = Launch::new(format!("group_norm_statistics_{suffix}"), (splits, rows), block_for(splits));
    let launch = launch.input(x).output(DType::F32, &[rows, splits, 3]).int(x.elem_count() / rows);
    Ok(launch.play(program)?.remove(0))
}

pub(crate) fn group_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    let sizes: [Sizes; 7] = [
        // Whole packs; several splits; several chunks of a plane.
        (8, 2, (16, 16), 1),
        (4, 2, (24, 32), 3),
        (6, 1, (8, 12), 4),
        // Odd: planes that are not whole packs, more splits than packs, a single number.
        (6, 3, (5, 7), 2),
        (4, 2, (1, 3), 32),
        (2, 2, (1, 1), 1),
        (3, 1, (33, 67), 32),
    ];
    for (dtype, suffix) in TYPES {
        for (channels, groups, (height, width), splits) in sizes {
            for (mean, silu) in [(0.0, true), (100.0, false)] {
                // The variance of one number is 0: far from 0 both forms cancel to nothing.
                if mean != 0.0 && channels * height * width == groups {
                    continue;
                }
                let x = numbers.around(mean, dtype, &[2, channels, height, width]);
                let (weight, bias) = (numbers.draw(dtype, &[channels]), numbers.draw(dtype, &[channels]));
                let parts = statistics(program, suffix, &x, groups, splits)?;

                let area = height * width;
                let block = block_for(splits);
                let chunks = area.div_ceil(block * 8);
                let launch = Launch::new(format!("group_norm_apply_{suffix}"), (2 * channels, chunks), block);
                // The result in a tensor of its own, or in place.
                let launch = if silu { launch.input(&x) } else { launch.changed(&x) };
                let launch = launch.input(&weight).input(&bias).input(&parts);
                let launch = if silu { launch.output(dtype, x.dims()) } else { launch.same(0) };
                let launch =
                    launch.int(channels).int(area).int(groups).int(splits).float(EPS).int(silu.into());
                let activation = silu.then_some(Activation::Silu);
                let expected =
                    ops::group_norm(&x, groups, &weight, &bias, EPS, activation).expect("sizes that fit");
                let what =
                    format!("{dtype:?} {channels}/{groups} {height}x{width}, {splits} splits, mean {mean}");
                // A mean of a hundred standard deviations costs two of f32's seven digits.
                let single = if mean == 0.0 { SINGLE } else { 1e-4 };
                close(&what, &launch.play(program)?[0], &expected, limit(dtype, single))?;
            }
        }
    }
    far::group_norm(program)
}

pub(crate) fn layer_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Widths of SDXL's UNet and of its text encoders, with best and with other blocks; odd widths.
    let sizes = [
        (3, 640, 96),
        (2, 1280, 160),
        (2, 768, 96),
        (2, 2048, 256),
        (3, 37, 32),
        (5, 1, 64),
        (2, 1283, 64),
        (1, 8, 256),
    ];
    for (dtype, suffix) in TYPES {
        for (rows, width, block) in sizes {
            for mean in [0.0, 100.0] {
                let x = numbers.around(mean, dtype, &[rows, width]);
                let (weight, bias) = (numbers.draw(dtype, &[width]), numbers.draw(dtype, &[width]));
                let launch = Launch::new(format!("layer_norm_{suffix}"), (rows, 1), block);
                // The result in a tensor of its own, or in place.
                let launch = if mean == 0.0 { launch.input(&x) } else { launch.changed(&x) };
                let launch = launch.input(&weight).input(&bias);
                let launch = if mean == 0.0 { launch.output(dtype, x.dims()) } else { launch.same(0) };
                let launch = launch.int(width).float(EPS);
                let expected = ops::layer_norm(&x, &weight, &bias, EPS).expect("sizes that fit");
                let what = format!("{dtype:?} {rows}x{width}, block {block}, mean {mean}");
                let single = if mean == 0.0 { SINGLE } else { 1e-4 };
                close(&what, &launch.play(program)?[0], &expected, limit(dtype, single))?;
            }
        }
    }
    far::layer_norm(program)
}
