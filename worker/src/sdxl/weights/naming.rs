//! Translates diffusers' tensor names to the names in a file.

use std::rc::Rc;

use candle_core::Tensor;

/// The place of a tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the file.
    pub name: String,
    /// The part of the stored tensor.
    pub view: View,
}

/// How a stored tensor contains a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// It is the tensor.
    Whole,
    /// One of several equal parts of the rows: open_clip stores queries, keys and values in one tensor.
    Part {
        /// 0-based index.
        index: usize,
        /// Number of parts.
        of: usize,
    },
    /// It is transposed: [inputs, outputs].
    Transposed,
    /// It is a linear layer, or the equivalent 1x1 convolution [outputs, inputs, 1, 1].
    Squeezed,
}

impl View {
    /// The expected shape of the stored tensor.
    pub(super) fn stored_shape(self, wanted: &[usize]) -> Vec<usize> {
        let mut shape = wanted.to_vec();
        match self {
            Self::Whole | Self::Squeezed => {}
            Self::Part { of, .. } => {
                if let Some(rows) = shape.first_mut() {
                    *rows *= of;
                }
            }
            Self::Transposed => shape.reverse(),
        }
        shape
    }

    /// Whether a stored tensor of shape `stored` contains a tensor of shape `wanted`.
    pub(super) fn shows(self, stored: &[usize], wanted: &[usize]) -> bool {
        let expected = self.stored_shape(wanted);
        stored == expected || (self == Self::Squeezed && stored == [&expected[..], &[1, 1]].concat())
    }

    /// Extracts the tensor of shape `wanted`.
    pub(super) fn of(self, stored: Tensor, wanted: &[usize]) -> candle_core::Result<Tensor> {
        match self {
            Self::Whole => Ok(stored),
            Self::Squeezed => stored.reshape(wanted),
            Self::Transposed => stored.t()?.contiguous(),
            // A copy: a view would keep the whole tensor in memory, once for each part.
            Self::Part { index, .. } => stored.narrow(0, index * wanted[0], wanted[0])?.force_contiguous(),
        }
    }
}

/// The naming of a component in a file.
#[derive(Clone)]
pub struct Naming {
    prefix: String,
    stored: Rc<dyn Fn(&str) -> Stored>,
}

impl Naming {
    /// The naming of the diffusers layout.
    pub fn diffusers() -> Self {
        Self::new("", |name| Stored { name: name.to_owned(), view: View::Whole })
    }

    /// A naming with `prefix` before the names of `stored`.
    pub fn new(prefix: &str, stored: impl Fn(&str) -> Stored + 'static) -> Self {
        let below = prefix.to_owned();
        let stored = move |name: &str| {
            let Stored { name, view } = stored(name);
            Stored { name: format!("{below}{name}"), view }
        };
        Self { prefix: prefix.to_owned(), stored: Rc::new(stored) }
    }

    /// The prefix of all names of the component.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The place of the tensor with diffusers' name.
    pub(in crate::sdxl) fn stored(&self, name: &str) -> Stored {
        (self.stored)(name)
    }
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Naming").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
