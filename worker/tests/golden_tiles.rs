//! Compares the autoencoder in overlapping tiles with that of diffusers, at sizes that the tiles do not divide evenly.

#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;
#[cfg(test)]
mod support;
#[cfg(test)]
#[path = "support/tensors.rs"]
mod tensors;

use candle_core::{DType, Device, Tensor};
use close::{assert_close, relative};
use glimpse_worker::sdxl::vae::{Tiles, Vae, VaeConfig};
use glimpse_worker::sdxl::{ConfigFiles, Precision, WeightFiles};
use numbers::numbers;
use support::parity;
use tensors::load;

/// The limit of a single module; the f32 error is below 1e-6.
const MODULE: f64 = 2e-5;

#[cfg(test)]
fn vae() -> Vae {
    let folder = parity().join("model/vae");
    let settings =
        ConfigFiles::Folder(folder.clone()).settings("config.json", "a component").expect("settings");
    let config = VaeConfig::read(&settings).expect("supported");
    let stem = "diffusion_pytorch_model";
    let files = WeightFiles::open(&folder, stem, Precision::Full, DType::F32, &Device::Cpu).expect("weights");
    Vae::new(&files, config).expect("vae")
}

/// A picture of bytes as the input of the encoder.
#[cfg(test)]
fn input(picture: &Tensor) -> Tensor {
    picture.to_dtype(DType::F32).and_then(|bytes| bytes.affine(2.0 / 255.0, -1.0)).expect("numbers")
}

#[test]
fn a_picture_in_tiles_is_that_of_diffusers() {
    let (vae, golden) = (vae(), load(parity().join("tiles.safetensors")));
    // The second grid ends with tiles that are smaller than the overlap.
    for (side, rows, columns) in [(4, 7, 10), (8, 7, 13)] {
        let of = |name: &str| &golden[&format!("{side}.{name}")];
        assert_eq!(of("latents").dims(), [1, 4, rows, columns]);
        let tiles = Tiles::new(side);
        let decoded = vae.decode_tiled(of("latents"), tiles).expect("a picture");
        assert_close(&format!("{side}.decoded"), &decoded, of("decoded"), MODULE);
        let whole = vae.decode(of("latents")).expect("a picture");
        assert!(relative(&numbers(&whole), &numbers(&decoded)) > 0.1, "tiles of {side} make a difference");

        let posterior = vae.encode_tiled(&input(of("picture")), tiles).expect("latents");
        assert_close(&format!("{side}.mean"), &posterior.mean, of("mean"), MODULE);
        assert_close(&format!("{side}.logvar"), &posterior.logvar, of("logvar"), MODULE);
    }
}

#[test]
fn a_picture_of_one_tile_is_the_whole_picture() {
    let (vae, golden) = (vae(), load(parity().join("tiles.safetensors")));
    let latents = &golden["8.latents"].narrow(3, 0, 8).and_then(|part| part.contiguous()).expect("a part");
    let tiles = Tiles::new(8);
    let [tiled, whole] =
        [vae.decode_tiled(latents, tiles), vae.decode(latents)].map(|p| p.expect("a picture"));
    assert!(numbers(&tiled) == numbers(&whole));
    let picture = golden["8.picture"].narrow(3, 0, 64).and_then(|part| part.contiguous()).expect("a part");
    let picture = input(&picture);
    let [tiled, whole] = [vae.encode_tiled(&picture, tiles), vae.encode(&picture)]
        .map(|posterior| posterior.expect("latents"));
    assert!(numbers(&tiled.mean) == numbers(&whole.mean) && numbers(&tiled.logvar) == numbers(&whole.logvar));
}
