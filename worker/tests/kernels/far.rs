//! Tensors of more than 2^31 numbers, of which one block's share exists: offsets are counted with 64 bits.

use candle_core::{DType, Device, Tensor};
use glimpse_worker::sdxl::ops::kernels::{self, GroupNorm};

use super::close::{Numbers, SINGLE, close, limit};
use super::launch::{Buffer, Finding, Launch};
use super::program::Program;

const DTYPE: DType = DType::F16;
/// Rows of 1280 numbers: more than 2^32 in all, where unsigned numbers begin again too.
const ROWS: usize = 4_000_000;
const WIDTH: usize = 1280;
/// 20 decoded pictures of 1024 x 1024 pixels, before the last convolution.
const PICTURES: usize = 20;
const CHANNELS: usize = 128;
const GROUPS: usize = 32;
const AREA: usize = 1 << 20;
/// What one block of a GPU's grid takes of a plane of f16.
const CHUNK: usize = 256 * 8;

fn near(what: &str, actual: &Tensor, expected: candle_core::Result<Tensor>) -> Finding {
    close(&format!("{what}, far"), actual, &expected.expect("one shape"), limit(DTYPE, SINGLE))
}

/// The last block of a GPU's launch.
fn last_block(launch: kernels::Launch<Buffer>) -> Launch {
    Launch::of(launch, "f16").only_last_block()
}

fn single(tensor: &Tensor) -> candle_core::Result<Tensor> {
    tensor.to_dtype(DType::F32)
}

pub(crate) fn geglu(program: &Program) -> Finding {
    let x = Numbers::new().draw(DTYPE, &[1, 2 * WIDTH]);
    let from = Buffer::far_input(&x, (ROWS - 1) * 2 * WIDTH, ROWS * 2 * WIDTH);
    let to = Buffer::far_output(DTYPE, &[1, WIDTH], (ROWS - 1) * WIDTH, ROWS * WIDTH);
    let launch = last_block(kernels::geglu(from, to, ROWS, WIDTH));
    near("geglu", &launch.play(program)?[0], glimpse_worker::sdxl::ops::geglu(&x))
}

pub(crate) fn layer_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    let [x, weight, bias] = [&[1, WIDTH][..], &[WIDTH], &[WIDTH]].map(|shape| numbers.draw(DTYPE, shape));
    let from = Buffer::far_input(&x, (ROWS - 1) * WIDTH, ROWS * WIDTH);
    let to = Buffer::far_output(DTYPE, &[1, WIDTH], (ROWS - 1) * WIDTH, ROWS * WIDTH);
    let buffers = [from, Buffer::input(&weight), Buffer::input(&bias), to];
    let launch = last_block(kernels::layer_norm(buffers, ROWS, WIDTH, 1e-5).expect("a grid"));
    let expected = glimpse_worker::sdxl::ops::layer_norm(&x, &weight, &bias, 1e-5);
    near("layer norm", &launch.play(program)?[0], expected)
}

pub(crate) fn bias_residual(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // The last axis has the bias.
    let (x, bias) = (numbers.draw(DTYPE, &[WIDTH]), numbers.draw(DTYPE, &[WIDTH]));
    let [from, beside] = [(); 2].map(|()| Buffer::far_input(&x, (ROWS - 1) * WIDTH, ROWS * WIDTH));
    let to = Buffer::far_output(DTYPE, &[WIDTH], (ROWS - 1) * WIDTH, ROWS * WIDTH);
    let buffers = [from, Buffer::input(&bias), to];
    let launch = last_block(kernels::bias_residual(buffers, Some(beside), [ROWS, WIDTH, 1]));
    let expected = single(&x).and_then(|x| ((&x + single(&bias)?)? + &x)?.to_dtype(DTYPE));
    near("bias of the last axis", &launch.play(program)?[0], expected)?;

    let planes = PICTURES * CHANNELS;
    let (x, bias) = (numbers.draw(DTYPE, &[CHUNK]), numbers.draw(DTYPE, &[CHANNELS]));
    let (first, total) = (planes * AREA - CHUNK, planes * AREA);
    let from = Buffer::far_input(&x, first, total);
    let to = Buffer::far_output(DTYPE, &[CHUNK], first, total);
    let buffers = [from, Buffer::input(&bias), to];
    let launch = last_block(kernels::bias_residual(buffers, None, [PICTURES, CHANNELS, AREA]));
    let bias = single(&bias).and_then(|bias| bias.narrow(0, CHANNELS - 1, 1));
    let expected = bias.and_then(|bias| single(&x)?.broadcast_add(&bias)?.to_dtype(DTYPE));
    near("bias of channels", &launch.play(program)?[0], expected)
}

pub(crate) fn group_norm(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    let (rows, size) = (PICTURES * GROUPS, CHANNELS / GROUPS * AREA);
    let norm = GroupNorm { batch: PICTURES, channels: CHANNELS, groups: GROUPS, area: AREA };
    let splits = norm.splits();
    let split = numbers.draw(DTYPE, &[size / splits]);
    let from = Buffer::far_input(&split, rows * size - size / splits, rows * size);
    let to = Buffer::far_output(DType::F32, &[3], (rows * splits - 1) * 3, rows * splits * 3);
    let launch = last_block(norm.statistics(splits, from, to).expect("a grid"));
    let values: Vec<f64> = split.to_dtype(DType::F64).and_then(|t| t.to_vec1()).expect("numbers");
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let actual: Vec<f32> = launch.play(program)?[0].to_vec1().expect("three numbers");
    for (what, actual, expected) in
        [("count", actual[0], count), ("mean", actual[1], mean), ("square", actual[2], square)]
    {
        if (f64::from(actual) - expected).abs() > 1e-6 * expected.abs().max(1.0) {
            return Err(format!("statistics, far: {what} differs: {actual}, expected {expected}"));
        }
    }

    // Every group has a mean of 1/2 and a variance of 4.
    let planes = PICTURES * CHANNELS;
    let moments = [size as f32, 0.5, 4.0 * size as f32].repeat(rows);
    let parts = Tensor::new(moments, &Device::Cpu).expect("moments");
    let x = numbers.draw(DTYPE, &[CHUNK]);
    let [weight, bias] = [(); 2].map(|()| numbers.draw(DTYPE, &[CHANNELS]));
    let (first, total) = (planes * AREA - CHUNK, planes * AREA);
    let from = Buffer::far_input(&x, first, total);
    let to = Buffer::far_output(DTYPE, &[CHUNK], first, total);
    let [weights, biases, moments] = [&weight, &bias, &parts].map(Buffer::input);
    let launch = norm.apply(1, [from, weights, biases, moments, to], 0.0, false);
    let launch = last_block(launch.expect("a grid"));
    let last = |tensor: &Tensor| single(tensor)?.narrow(0, CHANNELS - 1, 1);
    let expected = single(&x).and_then(|x| {
        let normal = x.affine(0.5, -0.25)?;
        normal.broadcast_mul(&last(&weight)?)?.broadcast_add(&last(&bias)?)?.to_dtype(DTYPE)
    });
    near("group norm", &launch.play(program)?[0], expected)
}

pub(crate) fn pixels(program: &Program) -> Finding {
    // The pictures are small and many; all are white.
    let (pictures, area) = (1_000_000, 1024);
    let white = Tensor::ones(3 * area, DTYPE, &Device::Cpu).expect("a picture");
    let broken = Tensor::zeros(1, DType::U32, &Device::Cpu).expect("a flag");
    let (first, total) = ((pictures - 1) * 3 * area, pictures * 3 * area);
    let from = Buffer::far_input(&white, first, total);
    let to = Buffer::far_output(DType::U8, &[3 * area], first, total);
    let launch = last_block(kernels::pixels(from, to, Buffer::changed(&broken), pictures, area));
    let expected = Tensor::full(255u8, 3 * area, &Device::Cpu);
    near("pixels", &launch.play(program)?[0], expected)
}
