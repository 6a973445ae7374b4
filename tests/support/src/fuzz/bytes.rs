//! Damage to bytes.

use proptest::{collection::vec, prelude::*, sample::Index};

/// Numbers that are dangerous as lengths and offsets.
const NUMBERS: [u64; 14] = [
    0,
    1,
    7,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x00FF_FFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 40,
    1 << 62,
    u64::MAX - 7,
    u64::MAX,
];

/// One change of a file.
#[derive(Debug, Clone)]
pub enum Damage {
    /// One byte is replaced.
    Set(Index, u8),
    /// One bit is flipped.
    Flip(Index, u8),
    /// The end is removed.
    Cut(Index),
    /// A part is removed.
    Lose(Index, usize),
    /// Bytes are inserted.
    Insert(Index, Vec<u8>),
    /// A part is repeated.
    Repeat(Index, usize),
    /// A number of the given width is overwritten, big or little endian.
    Number(Index, u64, usize, bool),
}

/// Any change.
pub fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let number = prop::sample::select(&NUMBERS[..]);
    prop_oneof![
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        3 => (at(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), 1_usize..64).prop_map(|(at, length)| Damage::Lose(at, length)),
        1 => (at(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => (at(), 1_usize..200).prop_map(|(at, length)| Damage::Repeat(at, length)),
        3 => (at(), number, prop::sample::select(vec![2, 3, 4, 8]), any::<bool>())
            .prop_map(|(at, number, width, big)| Damage::Number(at, number, width, big)),
    ]
}

/// One to a few changes.
pub fn damages() -> impl Strategy<Value = Vec<Damage>> {
    vec(damage(), 1..5)
}

impl Damage {
    /// Changes a file; an empty one stays as it is.
    pub fn apply(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        let length = file.len();
        let span = |at: &Index, wanted: usize| {
            let from = at.index(length);
            from..(from + wanted).min(length)
        };
        match self {
            Self::Set(at, byte) => file[at.index(length)] = *byte,
            Self::Flip(at, bit) => file[at.index(length)] ^= 1 << bit,
            Self::Cut(at) => file.truncate(at.index(length)),
            Self::Lose(at, wanted) => drop(file.drain(span(at, *wanted))),
            Self::Insert(at, bytes) => {
                let at = at.index(length);
                file.splice(at..at, bytes.iter().copied());
            }
            Self::Repeat(at, wanted) => {
                let part = file[span(at, *wanted)].to_vec();
                let at = at.index(length);
                file.splice(at..at, part);
            }
            Self::Number(at, number, width, big) => {
                let span = span(at, *width);
                let width = span.len();
                match big {
                    true => file[span].copy_from_slice(&number.to_be_bytes()[8 - width..]),
                    false => file[span].copy_from_slice(&number.to_le_bytes()[..width]),
                }
            }
        }
    }
}
