//! The scales between the autoencoder's latents and the UNet's: diffusers' `scaling_factor`, `latents_mean` and
//! `latents_std`.

use candle_core::Tensor;

use crate::sdxl::error::LoadError;
use crate::sdxl::settings::Settings;

/// The factor of SDXL's latents, which TAESD for SDXL was trained on.
const OF_SDXL: f64 = 0.13025;

/// How the UNet's latents follow from the autoencoder's.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// The UNet's latents are the autoencoder's times this.
    factor: f64,
    /// Mean and standard deviation of each channel of the autoencoder's latents, as in Playground v2.5: the latents are
    /// centred and divided by it before the factor.
    channels: Option<(Vec<f32>, Vec<f32>)>,
}

impl Normalisation {
    /// Reads the settings of an autoencoder whose latents have this number of channels.
    ///
    /// # Errors
    /// If the factor is missing, or a list has another length or only one of both is given.
    pub(super) fn read(s: &Settings, latent_channels: usize) -> Result<Self, LoadError> {
        let factor: f64 = s.required("scaling_factor")?;
        if !(factor.is_finite() && factor > 0.0) {
            return Err(s.unsupported("scaling_factor", factor));
        }
        let (mean, std) = (s.get::<Vec<f32>>("latents_mean")?, s.get::<Vec<f32>>("latents_std")?);
        for (key, list) in [("latents_mean", &mean), ("latents_std", &std)] {
            let Some(list) = list else { continue };
            if list.len() != latent_channels || list.iter().any(|number| !number.is_finite()) {
                return Err(s.wrong(key, format!("should be a list of {latent_channels} finite numbers")));
            }
        }
        if std.iter().flatten().any(|std| *std <= 0.0) {
            return Err(s.wrong("latents_std", "should be a list of numbers above 0"));
        }
        let channels = match (mean, std) {
            (None, None) => None,
            (Some(mean), Some(std)) => Some((mean, std)),
            (Some(_), None) => return Err(s.wrong("latents_mean", "needs latents_std")),
            (None, Some(_)) => return Err(s.wrong("latents_std", "needs latents_mean")),
        };
        Ok(Self { factor, channels })
    }

    /// The UNet's latents from the autoencoder's, [B, C, h, w].
    ///
    /// # Errors
    /// If the device fails.
    pub fn to_unet(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        let Some((mean, std)) = &self.channels else { return latents * self.factor };
        let centred = latents.broadcast_sub(&per_channel(mean, latents)?)?;
        (centred * self.factor)?.broadcast_div(&per_channel(std, latents)?)
    }

    /// The autoencoder's latents from the UNet's, [B, C, h, w].
    ///
    /// # Errors
    /// If the device fails.
    pub fn from_unet(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        let Some((mean, std)) = &self.channels else { return latents / self.factor };
        let wide = (latents.broadcast_mul(&per_channel(std, latents)?)? / self.factor)?;
        wide.broadcast_add(&per_channel(mean, latents)?)
    }

    /// The latents that the preview decoder reads, from the UNet's. TAESD knows SDXL's own scale alone.
    ///
    /// # Errors
    /// If the device fails.
    pub fn for_preview(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        match self.channels {
            None => Ok(latents.clone()),
            Some(_) => self.from_unet(latents)? * OF_SDXL,
        }
    }
}

/// Numbers per channel in the type and on the device of `like`: [1, C, 1, 1].
fn per_channel(numbers: &[f32], like: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::new(numbers, like.device())?.reshape((1, numbers.len(), 1, 1))?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{DType, Device};

    use super::*;

    fn read(text: &str) -> Result<Normalisation, String> {
        let settings = Settings::parse(text, Path::new("vae/config.json")).unwrap();
        Normalisation::read(&settings, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn latents_go_there_and_back() {
        let text = r#"{"scaling_factor": 0.5, "latents_mean": [-1.5, 3.0], "latents_std": [8.0, 5.0]}"#;
        let normalisation = read(text).unwrap();
        let latents = Tensor::new(&[[[[6.5f32]], [[-2.0]]]], &Device::Cpu).unwrap();
        let unet = normalisation.to_unet(&latents).unwrap();
        let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(numbers(&unet), [0.5, -0.5]);
        assert_eq!(numbers(&normalisation.from_unet(&unet).unwrap()), [6.5, -2.0]);
        assert_eq!(numbers(&normalisation.for_preview(&unet).unwrap()), [6.5 * 0.13025, -2.0 * 0.13025]);
        let half = normalisation.from_unet(&unet.to_dtype(DType::F16).unwrap()).unwrap();
        assert_eq!(half.dtype(), DType::F16);
        // As before, without the lists.
        let plain = read(r#"{"scaling_factor": 0.5}"#).unwrap();
        assert_eq!(numbers(&plain.for_preview(&unet).unwrap()), [0.5, -0.5]);
        assert_eq!(numbers(&plain.to_unet(&latents).unwrap()), [3.25, -1.0]);
    }

    #[test]
    fn wrong_lists_are_named() {
        for (text, key) in [
            (r#"{"scaling_factor": 0.5, "latents_mean": [1.0, 2.0]}"#, "latents_mean"),
            (r#"{"scaling_factor": 0.5, "latents_std": [1.0, 2.0]}"#, "latents_std"),
            (r#"{"scaling_factor": 0.5, "latents_mean": [1.0], "latents_std": [1.0, 2.0]}"#, "latents_mean"),
            (
                r#"{"scaling_factor": 0.5, "latents_mean": [1.0, 2.0], "latents_std": [0.0, 2.0]}"#,
                "latents_std",
            ),
            (r#"{"scaling_factor": 0}"#, "scaling_factor"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
