//! Runs a request and collects all intermediate tensors, by the names of the parity fixtures.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use crate::pipeline::{Inputs, Pipeline, SdxlDenoising, SdxlPipeline};

/// Tensors by name, on the CPU.
pub type Tensors = HashMap<String, Tensor>;

/// All tensors of one request, with previews after the steps of `preview_steps`.
///
/// # Errors
/// As for any job.
pub fn run(
    pipeline: &SdxlPipeline,
    inputs: &Inputs,
    preview_steps: &[usize],
) -> Result<Tensors, Box<dyn std::error::Error>> {
    let mut out = Tensors::new();
    let mut denoising = pipeline.begin(inputs)?;
    prompts(&mut out, &denoising, inputs.num_images_per_prompt)?;
    tables(&mut out, &denoising)?;
    if let Some(noise) = denoising.newest_noise() {
        keep(&mut out, "noise", noise)?;
    }
    keep(&mut out, "init_latents", denoising.latents())?;
    if let Some(image) = denoising.encoded_image() {
        keep(&mut out, "encoder_mean", &image.mean)?;
        keep(&mut out, "encoder_logvar", &image.logvar)?;
        keep(&mut out, "encoder_noise", &image.noise)?;
        keep(&mut out, "image_latents", &image.latents)?;
    }
    if let Some(masked) = denoising.masked() {
        keep(&mut out, "mask", &masked.narrow(1, 0, 1)?)?;
        keep(&mut out, "masked_image_latents", &masked.narrow(1, 1, masked.dim(1)? - 1)?)?;
    }

    let mut draws = 0;
    for step in 0..pipeline.progress(&denoising).steps {
        let before = denoising.newest_noise().map(Tensor::id);
        let first_part = !denoising.is_second();
        pipeline.step(&mut [&mut denoising])?;
        if let Some(noise) = denoising.newest_noise().filter(|n| Some(n.id()) != before) {
            keep(&mut out, &format!("step_noise.{draws}"), noise)?;
            draws += 1;
        }
        if first_part && denoising.is_second() {
            keep(&mut out, "second_add_time_ids", &time_ids(&denoising)?)?;
        }
        let noise_pred = denoising.noise_pred()?;
        let newest = [
            ("unet_in", denoising.unet_input().filter(|_| step == 0)),
            ("unet_out", denoising.unet_output().filter(|_| step == 0)),
            ("noise_pred", noise_pred.as_ref()),
            ("latents", Some(denoising.latents())),
        ];
        for (name, tensor) in newest {
            if let Some(tensor) = tensor {
                keep(&mut out, &format!("{name}.{step}"), tensor)?;
            }
        }
        if preview_steps.contains(&step) {
            let preview = pipeline.decode_preview(denoising.latents())?;
            keep(&mut out, &format!("preview.{step}"), &preview)?;
            if let Some(denoised) = denoising.denoised() {
                keep(&mut out, &format!("pred_x0.{step}"), denoised)?;
                let preview = pipeline.decode_preview(denoised)?;
                keep(&mut out, &format!("preview_x0.{step}"), &preview)?;
            }
        }
    }
    if denoising.is_part() {
        // The latents still have noise.
        return Ok(out);
    }
    keep(&mut out, "image", &pipeline.decode(denoising.latents())?)?;
    let pictures = pipeline.finish(denoising)?;
    let (height, width) = pictures.first().map_or((0, 0), |p| (p.height as usize, p.width as usize));
    let bytes: Vec<u8> = pictures.iter().flat_map(|p| p.data.clone()).collect();
    let bytes = Tensor::from_vec(bytes, (pictures.len(), height, width, 3), &Device::Cpu)?;
    out.insert("image_u8".into(), bytes);
    Ok(out)
}

/// Adds a tensor in the form of the fixtures: f32, on the CPU.
fn keep(out: &mut Tensors, name: &str, tensor: &Tensor) -> candle_core::Result<()> {
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    out.insert(name.into(), tensor);
    Ok(())
}

fn prompts(out: &mut Tensors, denoising: &SdxlDenoising, pictures: usize) -> candle_core::Result<()> {
    let halves = [("", Some(denoising.prompt())), ("negative_", denoising.negative_prompt())];
    for (half, encoded) in halves {
        let Some(encoded) = encoded else { continue };
        for (i, ids) in encoded.input_ids.iter().flatten().enumerate() {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
            // The one of a refiner is SDXL's second.
            let number = i + 3 - encoded.input_ids.iter().flatten().count();
            out.insert(format!("{half}input_ids_{number}"), ids);
        }
        keep(out, &format!("{half}prompt_embeds"), &encoded.embeds.repeat((pictures, 1, 1))?)?;
        keep(out, &format!("{half}pooled_prompt_embeds"), &encoded.pooled.repeat((pictures, 1))?)?;
    }
    keep(out, "add_time_ids", &time_ids(denoising)?)
}

fn time_ids(denoising: &SdxlDenoising) -> candle_core::Result<Tensor> {
    let rows = denoising.time_ids();
    Tensor::new(rows.concat(), &Device::Cpu)?.reshape((rows.len(), ()))
}

fn tables(out: &mut Tensors, denoising: &SdxlDenoising) -> candle_core::Result<()> {
    let table = |values: &[f64]| Tensor::new(values, &Device::Cpu)?.to_dtype(DType::F32);
    let (sampler, first, end) = (denoising.sampler(), denoising.first_step(), denoising.end());
    out.insert("timesteps".into(), table(&denoising.timesteps())?);
    if let Some(sigmas) = sampler.sigmas() {
        out.insert("sigmas".into(), table(&sigmas[first..=end])?);
    }
    Ok(())
}
