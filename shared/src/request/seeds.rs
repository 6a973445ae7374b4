//! The seeds of a request's pictures.

use serde_json::{Value, json};

use super::{
    bounds::{MAX_IMAGES, MAX_SEED},
    field_error::Loc,
    fields::Fields,
};

/// What a request says about seeds and the number of pictures.
pub(super) struct Seeds {
    /// The seed of the batch, or of its first picture.
    pub(super) first: u64,
    /// One for each picture; empty if the batch has one.
    pub(super) each: Vec<u64>,
    /// How many pictures.
    pub(super) num_images: u32,
}

impl Fields {
    /// Reads `seed`, `seeds` and `num_images`. `wires`: the number of pictures by another field of a wire.
    pub(super) fn seeds(&mut self, wires: Option<u64>) -> Seeds {
        let own = self.body.get("seed").filter(|seed| !seed.is_null()).cloned();
        let seed = self.integer("seed", 0, MAX_SEED);
        let count = self.integer("num_images", 1, MAX_IMAGES).or(wires);
        let each = self.each_seed();
        if let (Some(own), false) = (own, each.is_empty()) {
            let msg = "Input should not be given together with seeds";
            self.wrong("seed", "excluded", msg, &own);
        }
        if let Some(count) = count.filter(|count| !each.is_empty() && *count != each.len() as u64) {
            let msg = format!("Input should have a seed for each of the {count} pictures (num_images)");
            let ctx = json!({ "expected_length": count });
            self.out_of_bounds("seeds", "sequence_length", msg, &json!(each), ctx);
        }
        let images = if each.is_empty() { count.unwrap_or(1) } else { each.len() as u64 };
        let first = each.first().copied().or(seed).unwrap_or_else(|| rand::random::<u32>().into());
        Seeds { first, each, num_images: images as u32 }
    }

    fn each_seed(&mut self) -> Vec<u64> {
        let field = "seeds";
        let Some(sent) = self.take(field) else { return Vec::new() };
        let Value::Array(entries) = &sent else {
            self.wrong(field, "list_type", "Input should be a valid list", &sent);
            return Vec::new();
        };
        if !(1..=MAX_IMAGES).contains(&(entries.len() as u64)) {
            let msg = format!("List should have 1 to {MAX_IMAGES} items");
            self.out_of_bounds(field, "sequence_length", msg, &sent, json!({ "max_length": MAX_IMAGES }));
            return Vec::new();
        }
        let errors = self.errors.len();
        let mut seeds = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            let before = self.errors.len();
            // By the rules of `seed`.
            self.body.insert(field.to_owned(), entry.clone());
            match self.integer(field, 0, MAX_SEED) {
                Some(seed) => seeds.push(seed),
                None if entry.is_null() => {
                    self.wrong(field, "int_type", "Input should be a valid integer", entry);
                }
                None => {}
            }
            for error in &mut self.errors[before..] {
                error.loc.push(Loc::Index(index));
            }
        }
        if self.errors.len() > errors { Vec::new() } else { seeds }
    }
}
