//! Samplers whose steps are linear give the same result in one pass.

#[cfg(test)]
#[path = "support/close.rs"]
mod close;
#[cfg(test)]
#[path = "support/numbers.rs"]
mod numbers;

use candle_core::{Device, Result, Tensor};
use close::assert_close;
use glimpse_worker::{
    noise::{Generator, GeneratorKind},
    schedulers::{Noise, SCHEDULERS, Sampler, SchedulerConfig, Stepped},
    sdxl::{Settings, ops},
};

/// The samplers compute in f32, and guided_step sums in another order.
const LIMIT: f64 = 4e-6;

#[cfg(test)]
struct NoNoise;

#[cfg(test)]
impl Noise for NoNoise {
    fn draw(&mut self) -> Result<Tensor> {
        unreachable!("a linear step draws no noise")
    }
}

#[cfg(test)]
fn sampler(class: &str, settings: &str) -> Box<dyn Sampler> {
    let json = format!(
        r#"{{"_class_name": "{class}", "beta_start": 0.00085, "beta_end": 0.012,
             "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, {settings}}}"#
    );
    let settings = Settings::parse(&json, "scheduler_config.json".as_ref()).expect("an object");
    SchedulerConfig::read(settings).expect("a scheduler").sampler(7).expect("steps")
}

#[cfg(test)]
fn check(class: &str, settings: &str) -> Result<()> {
    let mut sampler = sampler(class, settings);
    let mut generator = Generator::new(GeneratorKind::Cpu, 3);
    let mut draw =
        |shape: &[usize]| Tensor::from_vec(generator.normal(shape.iter().product()), shape, &Device::Cpu);
    let shape = [2, 4, 5, 3];
    let mut sample = (draw(&shape)? * sampler.init_noise_sigma())?;
    for step in 0..7 {
        let (negative, positive) = (draw(&shape)?, draw(&shape)?);
        let guided = (&negative + ((&positive - &negative)? * 5.0)?)?;
        let linear = sampler.linear(step).expect("a linear step");
        let [next, denoised] = ops::guided_step([&negative, &positive], 5.0, &sample, linear)?;
        let stepped = sampler.step(step, &guided, &sample, &mut NoNoise)?;
        assert_close(&format!("{class} {settings} {step}"), &next, &stepped.sample, LIMIT);
        let Stepped { sample: own, denoised: expected } = stepped;
        assert_close(&format!("{class} {settings} {step} denoised"), &denoised, &expected, LIMIT);
        sample = own;
    }
    Ok(())
}

#[test]
fn euler_and_ddim_step_at_once_as_step_by_step() -> Result<()> {
    for prediction in ["epsilon", "v_prediction", "sample"] {
        check("EulerDiscreteScheduler", &format!(r#""prediction_type": "{prediction}""#))?;
        check(
            "DDIMScheduler",
            &format!(r#""clip_sample": false, "prediction_type": "{prediction}", "set_alpha_to_one": false"#),
        )?;
    }
    let zero_snr = r#""prediction_type": "v_prediction", "rescale_betas_zero_snr": true, "timestep_spacing": "trailing""#;
    check("EulerDiscreteScheduler", zero_snr)?;
    check("DDIMScheduler", &format!(r#""clip_sample": false, {zero_snr}"#))
}

#[test]
fn a_step_that_clips_or_remembers_is_not_linear() {
    for class in SCHEDULERS {
        let linear = sampler(class, r#""prediction_type": "epsilon""#).linear(0).is_some();
        // DDIM clips unless it is told not to.
        assert_eq!(linear, *class == "EulerDiscreteScheduler", "{class}");
    }
}
