//! What a pipeline does when its device has no memory left, and which size it then still allows.
//!
//! The estimate: the tensors of a job grow with its pixels in all, which are width times height times pictures;
//! whether there is guidance is not considered. After a job that did not fit, half of its pixels are allowed, or as many as the largest
//! finished job had if that is more. If that does not fit either, the next failure halves it again.

use std::cell::Cell;
use std::rc::Rc;

use super::error::PipelineError;
use super::residence::Residence;

/// The smallest picture of a request, in pixels: less is never the limit.
const SMALLEST: u64 = 64 * 64;

/// The size of a job, or of several jobs that take a step together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobSize {
    /// In pixels.
    pub(super) width: u32,
    /// In pixels.
    pub(super) height: u32,
    /// Pictures of that size.
    pub(super) pictures: usize,
}

impl JobSize {
    /// The size of one of the pictures, for a part that is done for one at a time.
    pub(super) fn alone(self) -> Self {
        Self { pictures: 1, ..self }
    }

    /// Pixels of one picture.
    fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Pixels of all pictures.
    fn in_all(self) -> u64 {
        self.pixels() * self.pictures as u64
    }
}

/// The memory of the device, as far as it is known from the jobs so far.
#[derive(Debug)]
pub(super) struct Memory {
    residence: Rc<Residence>,
    /// The most pixels of a picture that the operator allows.
    max_pixels: u64,
    /// The most pixels in all that fit, after a job that did not.
    fits: Cell<Option<u64>>,
    /// The most pixels in all of a finished job.
    finished: Cell<u64>,
}

impl Memory {
    /// A device on which everything fits until a job does not.
    pub(super) fn new(residence: Rc<Residence>, max_pixels: u64) -> Self {
        Self { residence, max_pixels, fits: Cell::new(None), finished: Cell::new(0) }
    }

    /// The most pixels of one picture.
    pub(super) fn max_pixels(&self) -> u64 {
        self.fits.get().map_or(self.max_pixels, |fits| fits.min(self.max_pixels))
    }

    /// Checks a job against what is known to be too large.
    ///
    /// # Errors
    /// [`PipelineError::BadRequest`] that names the largest size.
    pub(super) fn check(&self, size: JobSize) -> Result<(), PipelineError> {
        let Some(fits) = self.fits.get().filter(|fits| size.in_all() > *fits) else { return Ok(()) };
        if size.pixels() > fits {
            let message = format!(
                "width times height is {} pixels, and this worker's device has memory for {fits}",
                size.pixels()
            );
            return Err(PipelineError::bad("width", message));
        }
        let JobSize { width, height, pictures } = size;
        let message = format!(
            "{pictures} pictures of {width}x{height} are {} pixels, and this worker's device has memory for {fits}",
            size.in_all()
        );
        Err(PipelineError::bad("num_images", message))
    }

    /// Runs a part of a job whose memory does not depend on the job's size, such as the prompts; errors name it by
    /// `what`. If the device has no memory left for it, the text encoders leave the device and the part is run once
    /// more, so it must be one that can be run twice.
    ///
    /// # Errors
    /// As `part`.
    pub(super) fn retried<T>(
        &self,
        what: &str,
        part: impl Fn() -> Result<T, PipelineError>,
    ) -> Result<T, PipelineError> {
        self.twice(part).map_err(|error| match error {
            PipelineError::OutOfMemory { message } => {
                tracing::warn!("the device ran out of memory for {what}: {message}");
                PipelineError::OutOfMemory { message: format!("the device ran out of memory for {what}") }
            }
            other => other,
        })
    }

    /// [`Memory::retried`] for a part whose memory grows with the size of the job.
    ///
    /// # Errors
    /// As [`Memory::named`].
    pub(super) fn fit<T>(
        &self,
        size: JobSize,
        part: impl Fn() -> Result<T, PipelineError>,
    ) -> Result<T, PipelineError> {
        self.named(size, self.twice(part))
    }

    fn twice<T>(&self, part: impl Fn() -> Result<T, PipelineError>) -> Result<T, PipelineError> {
        match part() {
            Err(PipelineError::OutOfMemory { .. }) if self.residence.make_room()? => part(),
            made => made,
        }
    }

    /// The result of a part of a job. If the device has no memory left for it, the limit is lowered.
    ///
    /// # Errors
    /// [`PipelineError::OutOfMemory`] names the size that would fit.
    pub(super) fn named<T>(&self, size: JobSize, made: Result<T, PipelineError>) -> Result<T, PipelineError> {
        made.map_err(|error| match error {
            PipelineError::OutOfMemory { message } => self.exceeded(size, &message),
            other => other,
        })
    }

    /// Records a finished job: its size fits.
    pub(super) fn finished(&self, size: JobSize) {
        self.finished.set(self.finished.get().max(size.in_all()));
    }

    /// Lowers the limit below a job that did not fit.
    fn exceeded(&self, size: JobSize, why: &str) -> PipelineError {
        let half = size.in_all() / 2;
        let finished = Some(self.finished.get()).filter(|finished| *finished < size.in_all());
        let fits = finished.unwrap_or(0).max(half).max(SMALLEST);
        let JobSize { width, height, pictures } = size;
        let pictures = if pictures == 1 { "1 picture".to_owned() } else { format!("{pictures} pictures") };
        if self.fits.get().is_none_or(|known| fits < known) {
            self.fits.set(Some(fits));
            tracing::warn!(
                "the device ran out of memory at {width}x{height} with {pictures} ({why}): until this process \
                 ends, requests of more than {fits} pixels in all are refused. Set --max-pixels to {} to refuse them \
                 from the start, or set --low-memory to need less memory",
                self.max_pixels()
            );
        }
        let each = (fits / size.pictures.max(1) as u64).max(SMALLEST);
        PipelineError::OutOfMemory {
            message: format!(
                "the device ran out of memory at {width}x{height} with {pictures}: a request of at most {each} pixels \
                 would fit"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pipeline::log::logged;
    use crate::pipeline::{Inputs, LoadOptions, Pipeline, SdxlPipeline};

    /// The fixtures' pipeline.
    fn pipeline() -> SdxlPipeline {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
        let taesd = Some(fixtures.join("taesdxl"));
        SdxlPipeline::load(LoadOptions { taesd, ..LoadOptions::cpu(fixtures.join("model")) }).unwrap()
    }

    fn full<T>() -> Result<T, PipelineError> {
        let message = r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#;
        Err(candle_core::Error::Cuda(message.into()).into())
    }

    fn size(width: u32, height: u32, pictures: usize) -> JobSize {
        JobSize { width, height, pictures }
    }

    #[test]
    fn the_text_encoders_leave_once_and_the_part_is_run_again() {
        let pipeline = pipeline();
        let memory = &pipeline.memory;
        let runs = Cell::new(0);
        // A part that fits without the text encoders.
        let part = || {
            runs.set(runs.get() + 1);
            if pipeline.text.residence.rests() { Ok(7) } else { full() }
        };
        let (made, log) = logged(|| memory.fit(size(64, 64, 1), part));
        assert_eq!((made, runs.get()), (Ok(7), 2));
        assert!(
            matches!(&log[..], [line] if line.starts_with("WARN") && line.contains("text encoders")),
            "{log:?}"
        );
        assert_eq!(memory.max_pixels(), 2048 * 1024, "it fits");
        // The next jobs are not tried twice, and log nothing.
        let (made, log) =
            logged(|| (memory.fit(size(64, 64, 1), part), pipeline.begin(&Inputs::new("", 32, 32))));
        assert!(made.0 == Ok(7) && made.1.is_ok() && runs.get() == 3 && log.is_empty(), "{log:?}");
        let (failed, log) = logged(|| {
            memory.retried("the prompts", || {
                runs.set(runs.get() + 1);
                full::<()>()
            })
        });
        let message = "the device ran out of memory for the prompts".to_owned();
        assert_eq!((failed, runs.get()), (Err(PipelineError::OutOfMemory { message }), 4));
        assert!(matches!(&log[..], [line] if line.contains("CUDA_ERROR_OUT_OF_MEMORY")), "{log:?}");
        assert_eq!(memory.max_pixels(), 2048 * 1024, "another size would not help");
    }

    #[test]
    fn another_error_is_not_tried_again() {
        let pipeline = pipeline();
        let fault = || Err::<(), _>(PipelineError::fault("not finite"));
        assert_eq!(pipeline.memory.fit(size(64, 64, 1), fault), fault());
        assert!(!pipeline.text.residence.rests());
    }

    #[test]
    fn what_does_not_fit_names_a_size_that_would_and_is_refused_from_then_on() {
        let pipeline = pipeline();
        let memory = &pipeline.memory;
        let large = size(1024, 1024, 2);
        let (failed, log) = logged(|| memory.named::<()>(large, full()));
        let message = "the device ran out of memory at 1024x1024 with 2 pictures: a request of at most 524288 pixels \
                       would fit";
        assert_eq!(failed, Err(PipelineError::OutOfMemory { message: message.to_owned() }));
        assert!(matches!(&log[..], [line] if line.contains("Set --max-pixels to 1048576")), "{log:?}");
        assert_eq!((memory.max_pixels(), pipeline.describe().max_pixels), (1024 * 1024, 1024 * 1024));

        let refused = |width, height, pictures| {
            let mut inputs = Inputs::new("", width, height);
            inputs.num_images_per_prompt = pictures;
            match pipeline.begin(&inputs) {
                Err(PipelineError::BadRequest { field, message }) => Some((field, message)),
                _ => None,
            }
        };
        let (field, message) = refused(1032, 1024, 1).unwrap();
        assert!(field == "width" && message.contains("1056768") && message.contains("1048576"), "{message}");
        let (field, message) = refused(1024, 1024, 2).unwrap();
        assert!(field == "num_images" && message.contains("2 pictures of 1024x1024"), "{message}");
        assert_eq!(refused(32, 32, 1), None);
        // The same failure again is not logged again.
        let (_, log) = logged(|| memory.named::<()>(large, full()));
        assert!(log.is_empty(), "{log:?}");
    }

    #[test]
    fn the_largest_finished_job_below_the_failed_one_fits() {
        let pipeline = pipeline();
        let memory = &pipeline.memory;
        memory.finished(size(1024, 768, 1));
        memory.finished(size(64, 64, 1));
        let failed = memory.named::<()>(size(1024, 1024, 1), full());
        assert!(
            failed.unwrap_err().to_string().contains("with 1 picture: a request of at most 786432 pixels")
        );
        // A limit is never raised, nor below the smallest picture.
        let _ = memory.named::<()>(size(2048, 1024, 1), full());
        assert_eq!(memory.max_pixels(), 1024 * 768);
        for side in [64, 32] {
            let _ = memory.named::<()>(size(side, side, 1), full());
        }
        assert_eq!(memory.max_pixels(), 64 * 64);
    }
}
