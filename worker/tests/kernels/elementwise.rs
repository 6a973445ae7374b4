//! `geglu.cu` and `bias_residual.cu`.

use candle_core::{DType, Tensor};
use glimpse_worker::sdxl::ops::{self, kernels};

use super::close::{Numbers, SINGLE, close, limit};
use super::far;
use super::launch::{Buffer, Finding, Launch, TYPES};
use super::program::Program;

/// With a GPU's grid and block, or with others.
fn played_on(launch: Launch, grid: Option<((usize, usize), usize)>) -> Launch {
    match grid {
        Some((grid, block)) => launch.on(grid, block),
        None => launch,
    }
}

pub(crate) fn geglu(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Rows and width, with a GPU's grid and block or with others: one chunk, several, a grid that is smaller than the work;
    // odd widths.
    let sizes = [
        (2, 2560, None),
        (2, 5120, None),
        (5, 320, None),
        (3, 2560, Some(((3, 2), 256))),
        (7, 128, Some(((2, 1), 32))),
        (2, 1025, Some(((2, 1), 96))),
        (4, 37, Some(((3, 2), 32))),
        (3, 1, None),
    ];
    for (dtype, suffix) in TYPES {
        for (rows, width, grid) in sizes {
            let x = numbers.draw(dtype, &[rows, 2 * width]);
            let room = Buffer::output(dtype, &[rows, width]);
            let launch = kernels::geglu(Buffer::input(&x), room, rows, width);
            let launch = played_on(Launch::of(launch, suffix), grid);
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
    // Outer, channels and inner, with a GPU's grid and block or with others.
    let sizes = [
        ([2, 5, 64 * 64], None),
        ([2, 3, 5 * 7], None),
        ([6, 640, 1], None),
        ([1, 1, 1], None),
        ([3, 4, 2], Some(((5, 1), 32))),
        ([5, 37, 1], Some(((2, 1), 32))),
    ];
    for (dtype, suffix) in TYPES {
        for (shape, grid) in sizes {
            let channels = shape[1];
            let (x, bias) = (numbers.draw(dtype, &shape), numbers.draw(dtype, &[channels]));
            let residual = numbers.draw(dtype, &shape);
            for residual in [Some(&residual), None] {
                let biases = Buffer::input(&bias);
                // The result in place of the residual, or of x.
                let launch = match residual {
                    Some(residual) => {
                        let buffers = [Buffer::input(&x), biases, Buffer::same(2)];
                        kernels::bias_residual(buffers, Some(Buffer::changed(residual)), shape)
                    }
                    None => {
                        kernels::bias_residual([Buffer::changed(&x), biases, Buffer::same(0)], None, shape)
                    }
                };
                let launch = played_on(Launch::of(launch, suffix), grid);
                let expected = sum(&x, &bias, residual).expect("sizes that fit");
                // Two sums in the same order: to the last bit.
                close(&format!("{dtype:?} {shape:?}"), &launch.play(program)?[0], &expected, 0.0)?;
            }
        }
    }
    far::bias_residual(program)
}
