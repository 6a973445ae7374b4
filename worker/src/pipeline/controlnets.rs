//! The loaded ControlNets, and those of one job.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use candle_core::{DType, Device, Tensor};

use super::control_choice::ControlChoice;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::interrupt::Interrupt;
use crate::sdxl::controlnet::{Base, ControlNet, OpenedControlNet};
use crate::sdxl::unet::{Residuals, UnetConfig, UnetInputs};
use crate::sdxl::{LoadError, Precision};

/// One state of a file: inode, time of its last change, length.
type FileState = (u64, Option<SystemTime>, u64);

/// Identifies one state of a ControlNet's files.
type Stamp = Vec<(PathBuf, FileState)>;

/// The ControlNets that jobs asked for, on the device. The least recently used is dropped before one too many is loaded.
#[derive(Debug)]
pub(super) struct ControlNets {
    dtype: DType,
    device: Device,
    precision: Precision,
    /// The most of them that are kept after their job.
    kept: usize,
    /// The least recently used first.
    loaded: RefCell<Vec<(Stamp, Rc<ControlNet>)>>,
}

impl ControlNets {
    /// None yet.
    pub(super) fn new(dtype: DType, device: Device, precision: Precision, kept: usize) -> Self {
        Self { dtype, device, precision, kept, loaded: RefCell::default() }
    }

    /// Loads the ControlNets of a job and encodes their pictures.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] if one cannot be used, a fault if its file is changed while it is read.
    pub(super) fn load(
        &self,
        inputs: &Inputs,
        base: Base<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<ControlSet, PipelineError> {
        if inputs.controlnets.is_empty() {
            return Ok(ControlSet::default());
        }
        let mut controls: Vec<Control> = Vec::with_capacity(inputs.controlnets.len());
        for choice in &inputs.controlnets {
            interrupt.check()?;
            let in_use: Vec<Rc<ControlNet>> = controls.iter().map(|control| control.net.clone()).collect();
            let net = self.open(choice, base, &in_use)?;
            let picture = choice.picture(inputs.width, inputs.height);
            let picture = picture.to_unit_tensor(&self.device)?.to_dtype(self.dtype)?;
            controls.push(Control { choice: choice.clone(), hint: net.hint(&picture)?, net });
        }
        Ok(ControlSet(Some(Rc::new(controls))))
    }

    /// Keeps a ControlNet with random weights, as if it had been read from this file, which must exist.
    ///
    /// # Errors
    /// If the file has no metadata, or the device fails.
    pub(super) fn keep_random(&self, path: &Path, unet: &UnetConfig, seed: u64) -> Result<(), LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.into(), source };
        let stamp = stamp(path).map_err(unreadable)?;
        let net = OpenedControlNet::random(unet, seed).load(self.dtype, &self.device)?;
        self.loaded.borrow_mut().push((stamp, Rc::new(net)));
        Ok(())
    }

    fn open(
        &self,
        choice: &ControlChoice,
        base: Base<'_>,
        in_use: &[Rc<ControlNet>],
    ) -> Result<Rc<ControlNet>, PipelineError> {
        let ControlChoice { name, path, .. } = choice;
        let failed = |error: LoadError| match error {
            LoadError::Tensor(error) => PipelineError::from(error),
            LoadError::Changed { .. } => PipelineError::fault(format!("{name}: {}", message(&error, path))),
            error => PipelineError::bad("controlnets", format!("{name}: {}", message(&error, path))),
        };
        let stamp = stamp(path).map_err(|source| {
            failed(match source.kind() {
                ErrorKind::NotFound => LoadError::Missing { path: path.clone(), what: "a ControlNet" },
                _ => LoadError::Unreadable { path: path.clone(), source },
            })
        })?;
        let mut loaded = self.loaded.borrow_mut();
        // Not those of a file that was replaced.
        loaded.retain(|(kept, _)| {
            kept.first().map(|of| &of.0) != stamp.first().map(|of| &of.0) || *kept == stamp
        });
        if let Some(at) = loaded.iter().position(|(kept, _)| *kept == stamp) {
            let newest = loaded.remove(at);
            loaded.push(newest);
            return Ok(loaded[loaded.len() - 1].1.clone());
        }
        let opened = OpenedControlNet::open(path, self.precision, base).map_err(failed)?;
        // Before the load, so that there is never one more on the device.
        let is_used = |net: &Rc<ControlNet>| in_use.iter().any(|used| Rc::ptr_eq(used, net));
        while loaded.len() >= self.kept.max(1)
            && let Some(at) = loaded.iter().position(|(_, net)| !is_used(net))
        {
            loaded.remove(at);
        }
        let net = match opened.load(self.dtype, &self.device).map_err(failed) {
            // Those of earlier jobs leave the device first.
            Err(PipelineError::OutOfMemory { message }) if loaded.iter().any(|(_, net)| !is_used(net)) => {
                tracing::warn!(
                    "the device has too little memory for {name} and the ControlNets before it: {message}"
                );
                loaded.retain(|(_, net)| is_used(net));
                opened.load(self.dtype, &self.device).map_err(failed)?
            }
            net => net?,
        };
        let net = Rc::new(net);
        loaded.push((stamp, net.clone()));
        Ok(net)
    }
}

/// An error message without the operator's folders, because clients read it.
fn message(error: &LoadError, path: &Path) -> String {
    match error {
        LoadError::Missing { path: missing, .. } if missing == path => "not found".to_owned(),
        LoadError::Missing { path: missing, .. } => {
            format!("has no {}", missing.file_name().unwrap_or_default().display())
        }
        error => {
            let text = error.to_string().replace(&format!("{}/", path.display()), "");
            let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
            text.replace(&path.display().to_string(), &path.file_name().unwrap_or_default().to_string_lossy())
        }
    }
}

/// The state of a file, or of a folder's configuration and weights.
fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let state = |path: PathBuf| -> std::io::Result<(PathBuf, FileState)> {
        let file = std::fs::metadata(&path)?;
        Ok((path, (file.ino(), file.modified().ok(), file.len())))
    };
    let mut files = vec![state(path.into())?];
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|ending| ending == "json" || ending == "safetensors") {
                files.push(state(file)?);
            }
        }
        files[1..].sort();
    }
    Ok(files)
}

/// One ControlNet of a job.
#[derive(Debug)]
struct Control {
    choice: ControlChoice,
    net: Rc<ControlNet>,
    /// The encoded picture.
    hint: Tensor,
}

/// The ControlNets of one job, in the order of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct ControlSet(Option<Rc<Vec<Control>>>);

impl ControlSet {
    /// What they add in the 0-based step of so many; `None` if none of them counts in it.
    pub(super) fn residuals(
        &self,
        inputs: &UnetInputs,
        step: usize,
        steps: usize,
    ) -> candle_core::Result<Option<Residuals>> {
        let mut sum: Option<Residuals> = None;
        let controls = self.0.iter().flat_map(|controls| controls.iter());
        for Control { choice, net, hint } in controls.filter(|control| control.choice.covers(step, steps)) {
            let own = net.forward(inputs, hint, choice.scale)?;
            sum = Some(match sum {
                None => own,
                Some(sum) => sum.plus(&own)?,
            });
        }
        Ok(sum)
    }

    /// Whether jobs with these sets may take a step together: both are empty, or they are the set of one job.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Rc::ptr_eq(own, other),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Rgb;

    #[test]
    fn a_window_counts_whole_steps_as_in_diffusers() {
        let steps = |start: f64, end: f64, of: usize| -> Vec<usize> {
            let image = Rgb { width: 1, height: 1, data: vec![0; 3] };
            let choice = ControlChoice { start, end, ..ControlChoice::of("net", image) };
            (0..of).filter(|step| choice.covers(*step, of)).collect()
        };
        assert_eq!(steps(0.0, 1.0, 3), [0, 1, 2]);
        assert_eq!(steps(0.25, 0.75, 4), [1, 2]);
        // 1.0 - float(i / n < start or (i + 1) / n > end), in double precision.
        assert_eq!(steps(0.3, 0.8, 10), [3, 4, 5, 6, 7]);
        assert_eq!(steps(0.5, 0.6, 3), [0; 0]);
    }
}
