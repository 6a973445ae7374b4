//! Reads the tensors of one module, and checks that they belong together.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::alphas::Alphas;
use super::change::Change;
use super::delta::{Delta, Form, Lengths};
use super::factor::Factor;
use super::part::Part;
use super::target::{LoraTarget, ModuleName};
use crate::sdxl::error::{LoadError, Shown};
use crate::sdxl::weights::{ReadError, Shards};

/// The highest rank of a change. The largest layer of SDXL has 10240 rows.
const MOST_RANK: usize = 16384;

/// The names of one module's tensors.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<Part, String>);

/// Why the tensors of a module are no change.
pub(super) enum Incomplete {
    Load(LoadError),
    Lacks(Part),
    /// A tensor's name, and what is wrong with it.
    Unusable(String, String),
    /// What is wrong with all of them, as text after the module's name.
    Whole(String),
}

impl Parts {
    /// Adds a tensor; returns the name of another one that is the same part.
    pub(super) fn add(&mut self, part: Part, name: &str) -> Option<String> {
        self.0.insert(part, name.to_owned())
    }

    /// Reads the change.
    pub(super) fn change(
        &self,
        shards: &Shards,
        alphas: &Alphas,
        (component, module): (LoraTarget, &ModuleName),
    ) -> Result<Change, Incomplete> {
        let reader = Reader { parts: &self.0, shards, alphas, component, module };
        let mut change = Change::default();
        if self.has(&[Part::Down, Part::Up, Part::Mid, Part::UpBias]) {
            let (factor, scale) = reader.low_rank()?;
            change.weight.push(Delta::new(Form::Single(factor), scale));
            if let Some(bias) = reader.whole(Part::UpBias)? {
                change.bias.push(Delta::new(Form::Single(bias), scale));
            }
        }
        if self.has(&[Part::HadaW1A, Part::HadaW1B, Part::HadaW2A, Part::HadaW2B, Part::HadaT1, Part::HadaT2])
        {
            change.weight.push(reader.hadamard()?);
        }
        let first = [Part::LokrW1, Part::LokrW1A, Part::LokrW1B];
        let second = [Part::LokrW2, Part::LokrW2A, Part::LokrW2B, Part::LokrT2];
        if self.has(&first) || self.has(&second) {
            change.weight.push(reader.kronecker()?);
        }
        for part in [Part::Diff, Part::Norm] {
            let whole = reader.whole(part)?;
            change.weight.extend(whole.map(|whole| Delta::new(Form::Single(whole), 1.0)));
        }
        for part in [Part::DiffBias, Part::NormBias] {
            let whole = reader.whole(part)?;
            change.bias.extend(whole.map(|whole| Delta::new(Form::Single(whole), 1.0)));
        }
        change.lengths = reader.lengths()?;
        match (&change.lengths, change.weight.is_empty()) {
            (Some(_), true) => Err(Incomplete::Whole("has lengths of DoRA, but no matrices".to_owned())),
            (None, false) if alphas.says_dora(component) && self.has(&[Part::Down]) => {
                Err(Incomplete::Lacks(Part::Magnitude))
            }
            (None, true) if change.bias.is_empty() => {
                Err(Incomplete::Whole("has an alpha, but no matrices".to_owned()))
            }
            _ => Ok(change),
        }
    }

    fn has(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.0.contains_key(part))
    }
}

/// Reads the parts of one module.
struct Reader<'a> {
    parts: &'a BTreeMap<Part, String>,
    shards: &'a Shards,
    alphas: &'a Alphas,
    component: LoraTarget,
    module: &'a ModuleName,
}

impl Reader<'_> {
    /// up times down, with LoCon's kernel between them if there is one; and its scale.
    fn low_rank(&self) -> Result<(Factor, f64), Incomplete> {
        let (down, up) = (self.matrix(Part::Down)?, self.matrix(Part::Up)?);
        let factor = match self.parts.contains_key(&Part::Mid) {
            false => self.product([Part::Up, Part::Down], up, down)?,
            true => {
                let left = up.flatten_from(1).and_then(|up| up.t()?.contiguous());
                let left = left.map_err(|error| Incomplete::Load(error.into()))?;
                self.tucker([Part::Mid, Part::Up, Part::Down], left, down)?
            }
        };
        let rank = self.shape(Part::Down).first().copied().unwrap_or(1);
        Ok((factor, self.scale(rank)?))
    }

    fn hadamard(&self) -> Result<Delta, Incomplete> {
        let half = |a, b, core| {
            let (left, right) = (self.matrix(a)?, self.matrix(b)?);
            match self.parts.contains_key(&Part::HadaT1) || self.parts.contains_key(&Part::HadaT2) {
                true => self.tucker([core, a, b], left, right),
                false => self.product([a, b], left, right),
            }
        };
        let first = half(Part::HadaW1A, Part::HadaW1B, Part::HadaT1)?;
        let second = half(Part::HadaW2A, Part::HadaW2B, Part::HadaT2)?;
        let rank = self.shape(Part::HadaW1B).first().copied().unwrap_or(1);
        Ok(Delta::new(Form::Hadamard(first, second), self.scale(rank)?))
    }

    /// alpha / rank counts once; without a low-rank matrix only in files of peft.
    fn kronecker(&self) -> Result<Delta, Incomplete> {
        let half = |whole, a, b, core: Option<Part>| {
            if self.parts.contains_key(&whole) {
                return Ok((Factor::Whole(self.matrix(whole)?), None));
            }
            let core = core.filter(|core| self.parts.contains_key(core));
            if !self.parts.contains_key(&a) && !self.parts.contains_key(&b) && core.is_none() {
                return Err(Incomplete::Lacks(whole));
            }
            let (left, right) = (self.matrix(a)?, self.matrix(b)?);
            let rank = right.dims()[0];
            let factor = match core {
                Some(core) => self.tucker([core, a, b], left, right)?,
                None => self.product([a, b], left, right)?,
            };
            Ok((factor, Some(rank)))
        };
        let (first, first_rank) = half(Part::LokrW1, Part::LokrW1A, Part::LokrW1B, None)?;
        let (second, second_rank) = half(Part::LokrW2, Part::LokrW2A, Part::LokrW2B, Some(Part::LokrT2))?;
        let kernel_of_first = self.shape(Part::LokrW1).iter().skip(2).any(|axis| *axis != 1);
        if kernel_of_first {
            return Err(self.unusable(Part::LokrW1, "and should be a matrix"));
        }
        let scale = match second_rank.or(first_rank) {
            Some(rank) => self.scale(rank)?,
            None => self.alphas.whole_factor(self.component, self.module),
        };
        Ok(Delta::new(Form::Kronecker(first, second), scale))
    }

    fn product(&self, [a, b]: [Part; 2], left: Tensor, right: Tensor) -> Result<Factor, Incomplete> {
        let (inner, rank) = (left.dims().iter().skip(1).product::<usize>(), right.dims()[0]);
        if inner != rank {
            let other = format!("and the rank of {} is {rank}", self.shown(b));
            return Err(self.unusable(a, &other));
        }
        self.check_rank(b, rank)?;
        Ok(Factor::Product { left, right })
    }

    fn tucker(&self, [core, a, b]: [Part; 3], left: Tensor, right: Tensor) -> Result<Factor, Incomplete> {
        let kernel = self.matrix(core)?;
        let ranks = [left.dims()[0], right.dims()[0]];
        if kernel.rank() != 4 || kernel.dims()[..2] != ranks {
            let others = format!("and the ranks of {} and {} are {ranks:?}", self.shown(a), self.shown(b));
            return Err(self.unusable(core, &others));
        }
        self.check_rank(core, ranks[0].max(ranks[1]))?;
        Ok(Factor::Tucker { core: kernel, left, right })
    }

    fn check_rank(&self, part: Part, rank: usize) -> Result<(), Incomplete> {
        match rank > MOST_RANK {
            true => Err(self.unusable(part, &format!("and its rank {rank} is above {MOST_RANK}"))),
            false => Ok(()),
        }
    }

    /// DoRA's lengths. Those of peft are of rows, in any shape; others say by their shape.
    fn lengths(&self) -> Result<Option<Lengths>, Incomplete> {
        let (part, tensor) = match (self.tensor(Part::DoraScale)?, self.tensor(Part::Magnitude)?) {
            (Some(scale), _) => (Part::DoraScale, scale),
            (None, Some(lengths)) => (Part::Magnitude, lengths),
            (None, None) => return Ok(None),
        };
        let long: Vec<usize> = (0..tensor.rank()).filter(|axis| tensor.dims()[*axis] != 1).collect();
        let axis = match (part, &long[..]) {
            (Part::Magnitude, [] | [_]) | (_, [] | [0]) => 0,
            (_, [1]) => 1,
            _ => return Err(self.unusable(part, "and should be one number per row or column")),
        };
        if tensor.elem_count() == 0 {
            return Err(self.unusable(part, "and should be one number per row or column"));
        }
        let lengths = tensor.flatten_all().map_err(|error| Incomplete::Load(error.into()))?;
        Ok(Some(Lengths { lengths, axis }))
    }

    /// alpha / rank.
    fn scale(&self, rank: usize) -> Result<f64, Incomplete> {
        let Some(name) = self.parts.get(&Part::Alpha) else {
            return Ok(self.alphas.factor(self.component, self.module, rank));
        };
        Ok(self.shards.scalar(name).map_err(|error| Incomplete::of(error, name))? / rank as f64)
    }

    /// A change of a whole tensor.
    fn whole(&self, part: Part) -> Result<Option<Factor>, Incomplete> {
        let Some(tensor) = self.tensor(part)? else { return Ok(None) };
        match tensor.rank() {
            1..=4 if tensor.elem_count() > 0 => Ok(Some(Factor::Whole(tensor))),
            _ => Err(self.unusable(part, "and is no weight")),
        }
    }

    fn matrix(&self, part: Part) -> Result<Tensor, Incomplete> {
        let tensor = self.tensor(part)?.ok_or(Incomplete::Lacks(part))?;
        match tensor.rank() {
            2 | 4 if tensor.elem_count() > 0 => Ok(tensor),
            _ => Err(self.unusable(part, "and is not a matrix")),
        }
    }

    fn tensor(&self, part: Part) -> Result<Option<Tensor>, Incomplete> {
        let Some(name) = self.parts.get(&part) else { return Ok(None) };
        self.shards.tensor(name).map(Some).map_err(|error| Incomplete::of(error, name))
    }

    fn shape(&self, part: Part) -> &[usize] {
        self.parts.get(&part).and_then(|name| self.shards.shape(name)).unwrap_or_default()
    }

    fn shown(&self, part: Part) -> String {
        self.parts.get(&part).map_or_else(|| part.to_string(), |name| Shown(name).to_string())
    }

    fn unusable(&self, part: Part, why: &str) -> Incomplete {
        let shape = format!("{:?}", self.shape(part));
        let name = self.parts.get(&part).cloned().unwrap_or_default();
        Incomplete::Unusable(name, format!("has shape {}, {why}", Shown(&shape)))
    }
}

impl Incomplete {
    fn of(error: ReadError, name: &str) -> Self {
        match error {
            ReadError::Load(error) => Self::Load(error),
            ReadError::Unusable(why) => Self::Unusable(name.to_owned(), why),
        }
    }
}
