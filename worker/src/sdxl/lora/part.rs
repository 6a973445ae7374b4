//! The parts of a change: the endings of tensor names.

use std::fmt;

/// The kind of a module's tensor. The names of LyCORIS' parts are those of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Down,
    Mid,
    Up,
    /// The bias of `lora_B`.
    UpBias,
    HadaW1A,
    HadaW1B,
    HadaT1,
    HadaW2A,
    HadaW2B,
    HadaT2,
    LokrW1,
    LokrW1A,
    LokrW1B,
    LokrW2,
    LokrW2A,
    LokrW2B,
    LokrT2,
    Diff,
    DiffBias,
    Norm,
    NormBias,
    Alpha,
    /// DoRA's lengths of rows or columns.
    DoraScale,
    /// peft's name of the same, always of rows.
    Magnitude,
}

/// The endings of names without `.weight`, which may follow. peft writes the adapter's name after those with `true`:
/// `lora_A.default.weight`.
const ENDINGS: [(&str, Part, bool); 28] = [
    (".lora_A", Part::Down, true),
    (".lora_B", Part::Up, true),
    (".lora_down", Part::Down, true),
    (".lora_up", Part::Up, true),
    (".lora.down", Part::Down, false),
    (".lora.up", Part::Up, false),
    (".lora_linear_layer.down", Part::Down, false),
    (".lora_linear_layer.up", Part::Up, false),
    ("_lora.down", Part::Down, false),
    ("_lora.up", Part::Up, false),
    (".lora_mid", Part::Mid, false),
    (".hada_w1_a", Part::HadaW1A, true),
    (".hada_w1_b", Part::HadaW1B, true),
    (".hada_t1", Part::HadaT1, true),
    (".hada_w2_a", Part::HadaW2A, true),
    (".hada_w2_b", Part::HadaW2B, true),
    (".hada_t2", Part::HadaT2, true),
    (".lokr_w1", Part::LokrW1, true),
    (".lokr_w1_a", Part::LokrW1A, true),
    (".lokr_w1_b", Part::LokrW1B, true),
    (".lokr_w2", Part::LokrW2, true),
    (".lokr_w2_a", Part::LokrW2A, true),
    (".lokr_w2_b", Part::LokrW2B, true),
    (".lokr_t2", Part::LokrT2, true),
    ("_lora.alpha", Part::Alpha, false),
    (".alpha", Part::Alpha, false),
    (".dora_scale", Part::DoraScale, false),
    (".lora_magnitude_vector", Part::Magnitude, true),
];

/// The endings of whole names.
const WHOLE_ENDINGS: [(&str, Part); 7] = [
    (".diff", Part::Diff),
    (".diff_b", Part::DiffBias),
    (".w_norm", Part::Norm),
    (".b_norm", Part::NormBias),
    (".lora_B.bias", Part::UpBias),
    (".lora_up.bias", Part::UpBias),
    (".lora_B.default.bias", Part::UpBias),
];

/// Other changes than those above, by a part of their names.
const OTHER: [(&str, &str); 12] = [
    (".on_input", "(IA)^3"),
    (".ia3_l", "(IA)^3"),
    (".oft_blocks", "OFT"),
    (".oft_diag", "OFT"),
    (".oft_R", "OFT"),
    (".boft_", "BOFT"),
    (".a1.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".vera_lambda", "VeRA"),
    (".lora_embedding_", "LoRA for embeddings"),
    (".set_weight", "replaced weights"),
    (".scalar", "a trained scalar of LyCORIS"),
];

impl Part {
    /// The module's place and the part. `None` if the name has none of these endings.
    pub(super) fn split(name: &str) -> Option<(&str, Self)> {
        let whole = WHOLE_ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)));
        if whole.is_some() {
            return whole;
        }
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        ended(stem, false).or_else(|| ended(stem.rsplit_once('.')?.0, true))
    }

    /// What a file with this name has, if it is a change of another form.
    pub(super) fn other_form(name: &str) -> Option<&'static str> {
        OTHER.iter().find(|(part, _)| name.contains(part)).map(|(_, form)| *form)
    }
}

fn ended(stem: &str, before_adapter: bool) -> Option<(&str, Part)> {
    let mut endings = ENDINGS.iter().filter(|(.., may_be_before)| *may_be_before || !before_adapter);
    endings.find_map(|(ending, part, _)| Some((stem.strip_suffix(ending)?, *part)))
}

/// The names in files.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "lora_down or lora_A",
            Self::Mid => "lora_mid",
            Self::Up => "lora_up or lora_B",
            Self::UpBias => "lora_B.bias",
            Self::HadaW1A => "hada_w1_a",
            Self::HadaW1B => "hada_w1_b",
            Self::HadaT1 => "hada_t1",
            Self::HadaW2A => "hada_w2_a",
            Self::HadaW2B => "hada_w2_b",
            Self::HadaT2 => "hada_t2",
            Self::LokrW1 => "lokr_w1",
            Self::LokrW1A => "lokr_w1_a",
            Self::LokrW1B => "lokr_w1_b",
            Self::LokrW2 => "lokr_w2",
            Self::LokrW2A => "lokr_w2_a",
            Self::LokrW2B => "lokr_w2_b",
            Self::LokrT2 => "lokr_t2",
            Self::Diff => "diff",
            Self::DiffBias => "diff_b",
            Self::Norm => "w_norm",
            Self::NormBias => "b_norm",
            Self::Alpha => "alpha",
            Self::DoraScale => "dora_scale",
            Self::Magnitude => "lora_magnitude_vector",
        })
    }
}
