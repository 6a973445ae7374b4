//! `geglu.cu` and `bias_residual.cu`.

use candle_core::{DType, Tensor};
use glimpse_worker::sdxl::ops;

use super::close::{Numbers, SINGLE, close, limit};
use super::far;
use super::launch::{Finding, Launch, TYPES};
use super::program::Program;

pub(crate) fn geglu(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Rows, width, grid, block: one chunk, several, a grid that is smaller than the work; odd widths.
    let sizes = [
        (3, 2560, (3, 2), 256),
        (5, 320, (5, 1), 64),
        (7, 128, (2, 1), 32),
        (2, 1025, (2, 1), 96),
        (4, 37, (3, 2), 32),
        (3, 1, (3, 1), 32),
    ];
    for (dtype, suffix) in TYPES {
        for (rows, width, grid, block) in sizes {
            let x = numbers.draw(dtype, &[rows, 2 * width]);
            let launch = Launch::new(format!("geglu_{suffix}"), grid, block)
                .input(&x)
                .output(dtype, &[rows, width])
                .int(rows)
                .int(width);
            let expected = ops::geglu(&x).expect("an even width");
            close(
                &format!("{dtype:?} {rows}x{width}"),
                &launch.play(program)?[0],
                &expected,
                limit(dtype, SINGLE),
            )?;
        }
    }
    far::geglu(program)
}

/// x + bias + residual in f32, rounded once.
fn sum(x: &Tensor, bias: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
    let sum = x.to_dtype(DType::F32)?.broadcast_add(&bias.to_dtype(DType::F32)?.reshape((1, (), 1))?)?;
    let sum = match residual {
        Some(residual) => (sum + residual.to_dtype(DType::F32)?)?,
        None => sum,
    };
    sum.to_dtype(x.dtype())
}

pub(crate) fn bias_residual(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Outer, channels, inner, grid, block.
    let sizes = [
        (2, 5, 64 * 64, (10, 2), 256),
        (2, 3, 5 * 7, (6, 1), 32),
        (3, 4, 2, (5, 1), 32),
        (6, 640, 1, (6, 1), 96),
        (5, 37, 1, (2, 1), 32),
        (1, 1, 1, (1, 1), 32),
    ];
    for (dtype, suffix) in TYPES {
        for (outer, channels, inner, grid, block) in sizes {
            let shape = [outer, channels, inner];
            let (x, bias) = (numbers.draw(dtype, &shape), numbers.draw(dtype, &[channels]));
            let residual = numbers.draw(dtype, &shape);
            for residual in [Some(&residual), None] {
                let launch = Launch::new(format!("bias_residual_{suffix}"), grid, block);
                // The result in place of the residual, or of x.
                let launch = match residual {
                    Some(residual) => launch.input(&x).input(&bias).changed(residual).same(2),
                    None => launch.changed(&x).input(&bias).null().same(0),
                };
                let launch = launch.int(outer).int(channels).int(inner);
                let expected = sum(&x, &bias, residual).expect("sizes that fit");
                // Two sums in the same order: to the last bit.
                close(&format!("{dtype:?} {shape:?}"), &launch.play(program)?[0], &expected, 0.0)?;
            }
        }
    }
    far::bias_residual(program)
}
