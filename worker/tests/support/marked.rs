//! Weight files with marks.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Copies `from` to `to` and adds tensors of zeros (name, dtype, shape) and metadata.
pub(crate) fn mark(from: &Path, to: &Path, tensors: &[(&str, Dtype, &[usize])], metadata: &[(&str, &str)]) {
    let bytes = std::fs::read(from).expect("a file");
    let zeros = [0; 64];
    let whole = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut views: Vec<(String, TensorView<'_>)> = whole.tensors();
    for (name, dtype, shape) in tensors {
        let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let view = TensorView::new(*dtype, shape.to_vec(), &zeros[..length]).expect("zeros");
        views.push(((*name).to_owned(), view));
    }
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let marked = safetensors::serialize(views, (!metadata.is_empty()).then_some(metadata)).expect("a file");
    std::fs::write(to, marked).expect("written");
}
