//! `pixels.cu` and `finite.cu`.

use candle_core::{DType, Device, Tensor};
use glimpse_worker::sdxl::ops::{self, kernels};

use super::close::{Numbers, close};
use super::far;
use super::launch::{Buffer, Finding, Launch, TYPES};
use super::program::Program;

/// A flag that is not set.
fn flag() -> Tensor {
    Tensor::zeros(1, DType::U32, &Device::Cpu).expect("a flag")
}

/// Checks that a flag is set, or not.
fn flagged(what: &str, flag: &Tensor, expected: bool) -> Finding {
    match (flag.to_vec1::<u32>().expect("a flag")[0], expected) {
        (0, false) | (1, true) => Ok(()),
        (flag, _) => Err(format!("{what}: the flag differs: {flag}")),
    }
}

/// [B, 3, H, W] to [B, H, W, 3] bytes, as `Rgb::from_tensor` of `pipeline/picture.rs`.
fn quantised(images: &Tensor) -> candle_core::Result<Tensor> {
    let rows = images.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
    let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
    let bytes = values.iter().map(|v| ((v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8);
    Tensor::from_iter(bytes, &Device::Cpu)?.reshape(rows.shape())
}

pub(crate) fn pixels(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Pictures, height and width, with a GPU's grid and block or with others.
    let sizes = [
        (1, 16, 16, None),
        (2, 33, 40, None),
        (2, 32, 40, Some(((2, 3), 128))),
        (3, 5, 7, Some(((2, 1), 32))),
        (1, 1, 1, None),
    ];
    for (dtype, suffix) in TYPES {
        for (pictures, height, width, grid) in sizes {
            let shape = [pictures, 3, height, width];
            let play = |images: &Tensor| {
                let rgb = Buffer::output(DType::U8, &[pictures, height, width, 3]);
                let broken = Buffer::changed(&flag());
                let launch = kernels::pixels(Buffer::input(images), rgb, broken, pictures, height * width);
                let launch = Launch::of(launch, suffix);
                match grid {
                    Some((grid, block)) => launch.on(grid, block),
                    None => launch,
                }
                .play(program)
            };
            // Grey is 127.5, a tie. Normal numbers reach beyond black and white.
            let random = numbers.draw(dtype, &shape);
            let grey = random.zeros_like().expect("a tensor");
            for images in [&random, &grey] {
                let played = play(images)?;
                let what = format!("{dtype:?} {shape:?}");
                close(&what, &played[0], &quantised(images).expect("pictures"), 0.0)?;
                flagged(&what, &played[1], false)?;
            }
            let broken = (grey + f64::INFINITY).expect("a tensor");
            flagged(&format!("{dtype:?} {shape:?}, infinite"), &play(&broken)?[1], true)?;
        }
    }
    far::pixels(program)
}

pub(crate) fn finite(program: &Program) -> Finding {
    let mut numbers = Numbers::new();
    // Numbers, with a GPU's blocks and threads of a block or with others.
    let sizes = [(8195, None), (1021, None), (4096, Some((2, 256))), (37, Some((3, 32))), (1, Some((1, 32)))];
    for (count, grid) in sizes {
        let sound: Vec<f32> = numbers.draw(DType::F32, &[count]).to_vec1().expect("numbers");
        for (dtype, suffix) in TYPES {
            let check = |what: &str, values: Vec<f32>| {
                let x = Tensor::new(values, &Device::Cpu).and_then(|x| x.to_dtype(dtype)).expect("numbers");
                let launch = kernels::finite(Buffer::input(&x), Buffer::changed(&flag()), count);
                let launch = Launch::of(launch, suffix);
                let launch = match grid {
                    Some((blocks, block)) => launch.on((1, blocks), block),
                    None => launch,
                };
                let played = launch.play(program)?;
                let expected = !ops::is_finite(&x).expect("numbers");
                flagged(&format!("{what} among {count} of {dtype:?}"), &played[0], expected)
            };
            check("nothing", sound.clone())?;
            for at in [0, count / 3, count - 1] {
                for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 65_504.0] {
                    let mut values = sound.clone();
                    values[at] = value;
                    check(&format!("{value} at {at}"), values)?;
                }
            }
        }
    }
    Ok(())
}
