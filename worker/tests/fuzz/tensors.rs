//! Generates damaged safetensors files.

use glimpse_test_support::fuzz::{Change, Damage, changes, damages};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

/// All dtypes of the format, and their bits.
const TYPES: [(&str, usize); 20] = [
    ("F64", 64),
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("F4", 4),
    ("C64", 64),
    ("I64", 64),
    ("U64", 64),
    ("I32", 32),
    ("U32", 32),
    ("I16", 16),
    ("U16", 16),
    ("I8", 8),
    ("U8", 8),
    ("BOOL", 8),
];

/// The contents of a file.
#[derive(Clone)]
pub(crate) struct Tensors {
    entries: Vec<Entry>,
    metadata: Option<Value>,
}

/// One tensor.
#[derive(Clone)]
pub(crate) struct Entry {
    name: String,
    kind: String,
    shape: Vec<u64>,
    data: Vec<u8>,
}

/// A way to damage a file.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// The tensors are changed, and the header with them.
    tensors: Vec<TensorChange>,
    /// Only the header is changed.
    header: Vec<Change>,
    /// The length of the header is changed.
    length: Option<u64>,
    /// The bytes up to the end of the header are changed.
    damages: Vec<Damage>,
    /// The end of the file is changed.
    cut: Option<Index>,
}

#[derive(Debug, Clone)]
enum TensorChange {
    Drop(Index),
    /// The names of two tensors are swapped.
    Swap(Index, Index),
    /// A part of the name is replaced by that of another tensor.
    Rename(Index, String),
    /// Other axes with the same number of elements.
    Reshape(Index, usize),
    /// Another dtype.
    Retype(Index, usize),
    /// No elements: the last axis or the first is 0, the others are the given ones.
    Empty(Index, Vec<u64>, bool),
    /// Every byte has this value: NaN, 0, and others.
    Fill(Index, u8),
    Metadata(Value),
}

/// Any damage.
pub(crate) fn broken() -> impl Strategy<Value = Broken> {
    let at = any::<Index>;
    let sides = prop::sample::select(vec![0, 1, 2, 4, 1 << 20, 1 << 40, 1 << 62, u64::MAX]);
    let names =
        "|x|lora_unet_x|\\.alpha|weight|unet\\.|\\.hada_t1|\\.lokr_w2_b|\\.dora_scale|\\.diff_b|[a-z.]{0,12}";
    let metadata = prop::sample::select(vec![
        json!(null),
        json!([]),
        json!({ "format": "pt", "step": "-1" }),
        json!({ "lora_adapter_metadata": "{\"unet.lora_alpha\": 1e308, \"unet.r\": 0, \"unet.use_rslora\": true}" }),
        json!({ "lora_adapter_metadata": "[[[[" }),
        json!({ "lora_adapter_metadata": "{\"unet.use_dora\": true, \"unet.peft_type\": \"LOKR\", \"unet.r\": 1e-300}" }),
        json!({ "lora_adapter_metadata": "{\"unet.alpha_pattern\": {\"\": null, \"proj_in\": \"x\"}}" }),
    ]);
    let change = prop_oneof![
        1 => at().prop_map(TensorChange::Drop),
        1 => (at(), at()).prop_map(|(one, other)| TensorChange::Swap(one, other)),
        1 => (at(), names).prop_map(|(at, name)| TensorChange::Rename(at, name)),
        2 => (at(), 0_usize..8).prop_map(|(at, how)| TensorChange::Reshape(at, how)),
        3 => (at(), 0..TYPES.len()).prop_map(|(at, which)| TensorChange::Retype(at, which)),
        2 => (at(), vec(sides, 0..5), any::<bool>())
            .prop_map(|(at, shape, first)| TensorChange::Empty(at, shape, first)),
        1 => (at(), prop::sample::select(vec![0x00, 0x7F, 0xFF, 0x3C]))
            .prop_map(|(at, byte)| TensorChange::Fill(at, byte)),
        1 => metadata.prop_map(TensorChange::Metadata),
    ];
    let lengths = prop::sample::select(vec![
        0,
        1,
        8,
        100_000_000,
        100_000_001,
        1 << 40,
        i64::MAX as u64,
        u64::MAX - 8,
        u64::MAX,
    ]);
    let (seldom, often) = (|| prop::option::weighted(0.1, at()), || Just(Vec::new()));
    (
        vec(change, 0..4),
        prop_oneof![1 => often(), 1 => changes()],
        prop::option::weighted(0.1, lengths),
        prop_oneof![3 => Just(Vec::new()), 1 => damages()],
        seldom(),
    )
        .prop_map(|(tensors, header, length, damages, cut)| Broken {
            tensors,
            header,
            length,
            damages,
            cut,
        })
}

impl Tensors {
    pub(crate) fn read(file: &[u8]) -> Self {
        let length = u64::from_le_bytes(*file.first_chunk::<8>().expect("a header")) as usize;
        let header: Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).expect("JSON");
        let data = &file[8 + length..];
        let numbers = |value: &Value| -> Vec<u64> {
            value.as_array().expect("a list").iter().map(|n| n.as_u64().expect("a number")).collect()
        };
        let named = header.iter().filter(|(name, _)| *name != "__metadata__");
        let entries = named.map(|(name, info)| {
            let at = numbers(&info["data_offsets"]);
            let kind = info["dtype"].as_str().expect("a type").to_owned();
            let data = data[at[0] as usize..at[1] as usize].to_vec();
            Entry { name: name.clone(), kind, shape: numbers(&info["shape"]), data }
        });
        Self { entries: entries.collect(), metadata: header.get("__metadata__").cloned() }
    }

    /// The file with the damage.
    pub(crate) fn with(&self, broken: &Broken) -> Vec<u8> {
        let mut all = self.clone();
        broken.tensors.iter().for_each(|change| all.change(change));
        let mut header = Map::new();
        let mut data: Vec<u8> = Vec::new();
        for Entry { name, kind, shape, data: own } in &all.entries {
            let from = data.len();
            data.extend(own);
            let info = json!({ "dtype": kind, "shape": shape, "data_offsets": [from, data.len()] });
            header.insert(name.clone(), info);
        }
        header.extend(all.metadata.map(|metadata| ("__metadata__".to_owned(), metadata)));
        let header = Change::all(&broken.header, &header.into());
        let length = broken.length.unwrap_or(header.len() as u64);
        let mut file = [&length.to_le_bytes()[..], header.as_bytes()].concat();
        broken.damages.iter().for_each(|damage| damage.apply(&mut file));
        file.extend(data);
        if let Some(cut) = &broken.cut {
            file.truncate(cut.index(file.len() + 1));
        }
        file
    }

    /// The file with one tensor replaced.
    pub(crate) fn changed(&self, name: &str, change: impl FnOnce(&mut Entry)) -> Vec<u8> {
        let mut all = self.clone();
        change(all.entries.iter_mut().find(|entry| entry.name == name).expect("a tensor of that name"));
        all.with(&Broken { tensors: vec![], header: vec![], length: None, damages: vec![], cut: None })
    }

    fn change(&mut self, change: &TensorChange) {
        let count = self.entries.len();
        if count == 0 {
            return;
        }
        match change {
            TensorChange::Drop(at) => drop(self.entries.remove(at.index(count))),
            TensorChange::Swap(one, other) => {
                let (one, other) = (one.index(count), other.index(count));
                let name = self.entries[one].name.clone();
                self.entries[one].name = std::mem::replace(&mut self.entries[other].name, name);
            }
            TensorChange::Rename(at, part) => {
                let name = &mut self.entries[at.index(count)].name;
                let from = name.rfind('.').unwrap_or(0);
                *name = if part.is_empty() { String::new() } else { format!("{}{part}", &name[..from]) };
            }
            TensorChange::Reshape(at, how) => self.entries[at.index(count)].reshape(*how),
            TensorChange::Retype(at, which) => {
                let (kind, bits) = TYPES[*which];
                self.entries[at.index(count)].retype(kind, bits);
            }
            TensorChange::Empty(at, shape, first) => {
                let entry = &mut self.entries[at.index(count)];
                entry.empty(shape);
                if *first {
                    entry.reshape(0);
                }
            }
            TensorChange::Fill(at, byte) => self.entries[at.index(count)].data.fill(*byte),
            TensorChange::Metadata(value) => self.metadata = Some(value.clone()),
        }
    }
}

impl Entry {
    /// The same number of elements, with another dtype.
    pub(crate) fn retype(&mut self, kind: &str, bits: usize) {
        let numbers = self.shape.iter().copied().fold(1, u64::wrapping_mul) as usize;
        self.kind = kind.to_owned();
        self.data.resize(numbers.saturating_mul(bits) / 8 % (1 << 24), 0x3C);
    }

    /// No elements: the last axis is 0.
    pub(crate) fn empty(&mut self, others: &[u64]) {
        self.shape = [others, &[0]].concat();
        self.data.clear();
    }

    /// The axes in another order; 0 reverses them.
    pub(crate) fn reshape(&mut self, how: usize) {
        let all = self.shape.iter().copied().fold(1, u64::wrapping_mul);
        match how {
            0 => self.shape.reverse(),
            1 => self.shape = vec![all],
            2 => self.shape = vec![1, all],
            3 => self.shape = vec![all, 1],
            4 => self.shape.extend([1, 1]),
            5 => self.shape.insert(0, 1),
            // A scalar, without axes.
            6 => {
                self.shape.clear();
                self.data.truncate(4);
            }
            _ => self.shape = [vec![1; 3000], self.shape.clone()].concat(),
        }
    }
}
