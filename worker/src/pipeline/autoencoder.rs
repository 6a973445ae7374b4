//! The model's autoencoder, in a dtype in which it does not overflow.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};

use super::error::PipelineError;
use super::options::LoadOptions;
use super::residence::Residence;
use super::source::Source;
use crate::sdxl::vae::{Posterior, Tiles, Vae, VaeConfig};
use crate::sdxl::{LoadError, Naming, Shards, WeightFiles, ops};

/// A VAE in the model's dtype, or in float32 if its configuration has `force_upcast`. If its activations overflow, it
/// is loaded again in float32, and all later calls use float32. If a picture does not fit into the device's memory, it
/// and all later ones of its size or larger are decoded or encoded in tiles.
#[derive(Debug)]
pub(super) struct Autoencoder {
    vae: Vae,
    dtype: DType,
    precise: OnceCell<Vae>,
    /// Kept open for the second load.
    shards: Rc<Shards>,
    naming: Naming,
    device: Device,
    residence: Rc<Residence>,
    decoding: Extent,
    encoding: Extent,
}

/// What is known to be too large for one pass of the decoder or of the encoder.
#[derive(Debug)]
struct Extent {
    /// `decoded` or `encoded`, for the log.
    work: &'static str,
    /// Pictures with this many latents (height times width) or more are in tiles.
    tiled: Cell<usize>,
}

impl Autoencoder {
    /// Loads the model's autoencoder, or the one that the options name instead.
    pub(super) fn load(
        source: &Source<'_>,
        options: &LoadOptions,
        residence: Rc<Residence>,
    ) -> Result<Self, LoadError> {
        let config = source.vae_config()?;
        let (shards, naming) = source.vae(&config)?;
        let dtype = if config.force_upcast { DType::F32 } else { options.dtype };
        let files = WeightFiles::new(shards.clone(), naming.clone(), dtype, &options.device);
        let vae = Vae::new(&files.logged_as("the VAE"), config)?;
        let tiled = if options.low_memory { 0 } else { usize::MAX };
        let extent = |work| Extent { work, tiled: Cell::new(tiled) };
        Ok(Self {
            vae,
            dtype,
            precise: OnceCell::new(),
            shards,
            naming,
            device: options.device.clone(),
            residence,
            decoding: extent("decoded"),
            encoding: extent("encoded"),
        })
    }

    pub(super) fn config(&self) -> &VaeConfig {
        self.vae.config()
    }

    /// Decodes the UNet's latents [B, C, h, w] to pictures [B, 3, H, W], f32, about -1..1, not clamped.
    pub(super) fn decode(&self, latents: &Tensor) -> Result<Tensor, PipelineError> {
        let (_, _, height, width) = latents.dims4()?;
        self.whole_or_tiled(&self.decoding, (height, width), |tiles| {
            self.finite(|vae, dtype| {
                let latents = latents.to_dtype(dtype)?;
                match tiles {
                    None => vae.decode(&latents),
                    Some(tiles) => vae.decode_tiled(&latents, tiles),
                }?
                .to_dtype(DType::F32)
            })
        })
    }

    /// Encodes pictures [B, 3, H, W] in -1..1 to the distribution of their latents, f32, before the scaling factor.
    pub(super) fn encode(&self, pictures: &Tensor) -> Result<Posterior, PipelineError> {
        let (_, _, height, width) = pictures.dims4()?;
        let scale = self.config().scale();
        let moments = self.whole_or_tiled(&self.encoding, (height / scale, width / scale), |tiles| {
            self.finite(|vae, dtype| {
                let pictures = pictures.to_dtype(dtype)?;
                let Posterior { mean, logvar } = match tiles {
                    None => vae.encode(&pictures),
                    Some(tiles) => vae.encode_tiled(&pictures, tiles),
                }?;
                Tensor::stack(&[mean.to_dtype(DType::F32)?, logvar.to_dtype(DType::F32)?], 0)
            })
        })?;
        Ok(Posterior { mean: moments.get(0)?, logvar: moments.get(1)? })
    }

    /// Runs the network on the whole picture. If the device has no memory left for that, the text encoders leave it. If
    /// that is not enough, the picture is decoded or encoded in tiles.
    fn whole_or_tiled(
        &self,
        extent: &Extent,
        (height, width): (usize, usize),
        run: impl Fn(Option<Tiles>) -> Result<Tensor, PipelineError>,
    ) -> Result<Tensor, PipelineError> {
        let tiles = self.config().tiles();
        if height * width >= extent.tiled.get() {
            return run(Some(tiles));
        }
        let mut whole = run(None);
        if matches!(whole, Err(PipelineError::OutOfMemory { .. })) && self.residence.make_room()? {
            whole = run(None);
        }
        match whole {
            Err(PipelineError::OutOfMemory { .. }) if tiles.divide(height, width) => {}
            made => return made,
        }
        extent.tiled.set(height * width);
        let scale = self.config().scale();
        tracing::warn!(
            "the device has too little memory for a whole picture of {}x{}: from now on this size and larger ones are {} \
             in overlapping tiles, as with --low-memory",
            width * scale,
            height * scale,
            extent.work
        );
        run(Some(tiles))
    }

    /// Runs the network, and runs it again in float32 if the output is not finite.
    fn finite(
        &self,
        run: impl Fn(&Vae, DType) -> candle_core::Result<Tensor>,
    ) -> Result<Tensor, PipelineError> {
        if let Some(vae) = self.precise.get() {
            return Ok(run(vae, DType::F32)?);
        }
        let output = run(&self.vae, self.dtype)?;
        if self.dtype == DType::F32 || ops::is_finite(&output)? {
            return Ok(output);
        }
        tracing::warn!(
            "the autoencoder overflows in {}: this and all further pictures are decoded in float32",
            self.dtype.as_str()
        );
        let (shards, naming) = (self.shards.clone(), self.naming.clone());
        let files = WeightFiles::new(shards, naming, DType::F32, &self.device);
        let vae =
            Vae::new(&files.logged_as("the VAE in float32"), self.config().clone()).map_err(|error| {
                let error = match error {
                    LoadError::Tensor(error) => return PipelineError::from(error),
                    error => error,
                };
                // The client must not see the operator's paths.
                tracing::error!("{error}");
                PipelineError::fault("the VAE could not be loaded in float32: the worker's log says why")
            })?;
        Ok(run(self.precise.get_or_init(|| vae), DType::F32)?)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::pipeline::log::logged;
    use crate::pipeline::{LoadOptions, SdxlPipeline};

    #[test]
    fn what_does_not_fit_whole_is_made_in_tiles_from_its_size_on() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
        let options =
            LoadOptions { taesd: Some(fixtures.join("taesdxl")), ..LoadOptions::cpu(fixtures.join("model")) };
        let pipeline = SdxlPipeline::load(options).unwrap();
        let vae = &pipeline.vae;
        let forms = RefCell::new(Vec::new());
        // A device with memory for 40 x 40 latents, and for one tile of 32 x 32 at a time.
        let run = |size: (usize, usize)| {
            let runs = vae.whole_or_tiled(&vae.decoding, size, |tiles| {
                forms.borrow_mut().push(tiles.is_some());
                if tiles.is_none() && size.0 * size.1 > 1600 {
                    return Err(PipelineError::of_device("CUDA_ERROR_OUT_OF_MEMORY".into()));
                }
                Ok(Tensor::zeros(1, DType::F32, &Device::Cpu)?)
            });
            (runs.map(drop), forms.take())
        };
        assert_eq!(run((40, 40)), (Ok(()), vec![false]));
        let (made, log) = logged(|| run((48, 40)));
        // Whole, whole without the text encoders, tiled.
        assert_eq!(made, (Ok(()), vec![false, false, true]));
        assert!(pipeline.text.residence.rests());
        assert!(
            matches!(&log[..], [first, second] if first.contains("text encoders")
            && second.contains("320x384") && second.contains("decoded in overlapping tiles")),
            "{log:?}"
        );
        let (made, log) = logged(|| [(48, 40), (64, 64), (48, 39), (40, 40)].map(run));
        let expected = [vec![true], vec![true], vec![false, true], vec![false]];
        assert_eq!(made, expected.map(|forms| (Ok(()), forms)));
        assert_eq!(log.len(), 1, "the smaller size: {log:?}");
        assert_eq!(vae.encoding.tiled.get(), usize::MAX, "the encoder may still fit");
    }
}
