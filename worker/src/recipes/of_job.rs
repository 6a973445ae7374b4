//! The recipes of one job's pictures.

use std::sync::{Arc, OnceLock};

use glimpse_shared::{recipe::Metadata, request::ImageSpec};

use super::of_process::{LoraFile, Recipes};
use crate::pipeline::LoraChoice;

/// The recipes of one job's pictures. Its LoRAs are known once the pipeline's inputs are.
#[derive(Debug, Clone)]
pub struct JobRecipe {
    recipes: Arc<Recipes>,
    loras: Arc<OnceLock<Vec<LoraFile>>>,
}

impl JobRecipe {
    /// For a job of this process; `None` if its pictures carry no recipe.
    pub fn new(recipes: &Arc<Recipes>, spec: &ImageSpec) -> Option<Self> {
        let wanted = recipes.writes && spec.has_metadata();
        wanted.then(|| Self { recipes: recipes.clone(), loras: Arc::default() })
    }

    /// Takes the LoRAs of the job, and begins to compute their digests.
    pub fn begin(&self, loras: &[LoraChoice]) {
        let file = |lora: &LoraChoice| LoraFile { path: lora.name.clone(), file: lora.path.clone() };
        let loras: Vec<LoraFile> = loras.iter().map(file).collect();
        self.recipes.begin(&loras);
        // A job has one set of LoRAs.
        let _ = self.loras.set(loras);
    }

    /// Waits until all digests are known. Blocks the thread.
    pub fn wait(&self) {
        self.recipes.wait(self.loras());
    }

    /// What the picture of this number carries, by what is known now. `finished_at_step`: after which step the job was
    /// finished early.
    pub fn metadata(&self, spec: &ImageSpec, index: usize, finished_at_step: Option<u32>) -> Metadata {
        let mut recipe = self.recipes.of(spec, self.loras(), u32::try_from(index).unwrap_or(u32::MAX));
        recipe.finished_at_step = finished_at_step;
        let metadata = Metadata::of(&recipe);
        if metadata.is_cut() {
            tracing::warn!("a picture's recipe is too long for its file: a part of it is left out");
        }
        metadata
    }

    fn loras(&self) -> &[LoraFile] {
        self.loras.get().map(Vec::as_slice).unwrap_or_default()
    }
}
