//! Reads a scan's bits, to find where each block ends. The coefficients' values are not needed.

use super::tables::Huffman;

/// The bits of a scan; `None` after its end.
pub(super) struct Bits<'a> {
    file: &'a [u8],
    /// The offset of the next byte.
    at: usize,
    byte: u32,
    /// How many bits of `byte` are left.
    left: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(file: &'a [u8], at: usize) -> Self {
        Self { file, at, byte: 0, left: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let byte = *self.file.get(self.at)?;
            self.at += 1;
            if byte == 0xFF {
                // 0xFF without an escape is a marker, which ends the data.
                if *self.file.get(self.at)? != 0 {
                    return None;
                }
                self.at += 1;
            }
            (self.byte, self.left) = (byte.into(), 8);
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1)
    }

    fn number(&mut self, bits: u8) -> Option<u32> {
        (0..bits).try_fold(0, |number, _| Some(number << 1 | self.bit()?))
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        self.number(bits).map(drop)
    }

    fn symbol(&mut self, code: &Huffman) -> Option<u8> {
        code.symbol(|| self.bit())
    }

    /// Skips a restart marker; `None` if there is none.
    pub(super) fn restart(&mut self) -> Option<()> {
        let rest = self.file.get(self.at..)?;
        let filling = rest.iter().take_while(|byte| **byte == 0xFF).count();
        let is_restart = filling > 0 && matches!(rest.get(filling)?, 0xD0..=0xD7);
        self.at += filling + 1;
        self.left = 0;
        is_restart.then_some(())
    }

    /// The offset after the scan; `None` if the scan is not complete. The last byte of a complete scan is padded with
    /// ones; a truncated file that is padded with zeros continues with zeros.
    pub(super) fn end(&self) -> Option<usize> {
        let filling = (1 << self.left) - 1;
        let is_filled = self.byte & filling == filling;
        let goes_on = self.left == 0 && self.byte == 0 && self.file.get(self.at) == Some(&0);
        (is_filled && !goes_on).then_some(self.at)
    }
}

/// The part of each block that a scan contains.
pub(super) enum Pass<'a> {
    /// Everything.
    Sequential {
        /// Of the first coefficient.
        dc: &'a Huffman,
        /// Of the others.
        ac: &'a Huffman,
    },
    /// The upper bits of the first coefficient.
    DcFirst(&'a Huffman),
    /// One bit more of it.
    DcRefine,
    /// The upper bits of some other coefficients.
    AcFirst(Band<'a>),
    /// One bit more of them.
    AcRefine(Band<'a>),
}

/// Some coefficients of all blocks.
pub(super) struct Band<'a> {
    pub(super) first: u8,
    pub(super) last: u8,
    pub(super) code: &'a Huffman,
    /// How many of the next blocks have no data in this band.
    pub(super) empty: u32,
}

impl Pass<'_> {
    /// Skips one block. `known` has a bit for each of its coefficients that is not 0 after the previous scans.
    pub(super) fn block(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Option<()> {
        match self {
            Self::Sequential { dc, ac } => {
                let length = bits.symbol(dc)?;
                bits.skip(length)?;
                let mut at = 1;
                while at < 64 {
                    match split(bits.symbol(ac)?) {
                        (15, 0) => at += 16,
                        (_, 0) => break,
                        (zeros, length) => {
                            at += zeros + 1;
                            bits.skip(length)?;
                        }
                    }
                }
                (at <= 64).then_some(())
            }
            Self::DcFirst(code) => {
                let length = bits.symbol(code)?;
                bits.skip(length)
            }
            Self::DcRefine => bits.skip(1),
            Self::AcFirst(band) => band.first_bits(bits, known),
            Self::AcRefine(band) => band.one_bit_more(bits, known),
        }
    }

    /// A run of empty blocks ends at a restart.
    pub(super) fn restart(&mut self) {
        if let Self::AcFirst(band) | Self::AcRefine(band) = self {
            band.empty = 0;
        }
    }
}

impl Band<'_> {
    fn first_bits(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Option<()> {
        if let Some(left) = self.empty.checked_sub(1) {
            self.empty = left;
            return Some(());
        }
        let mut at = self.first;
        while at <= self.last {
            match split(bits.symbol(self.code)?) {
                (15, 0) => at += 16,
                (run, 0) => {
                    self.empty = (1 << run | bits.number(run)?) - 1;
                    break;
                }
                (zeros, length) => {
                    at += zeros;
                    bits.skip(length)?;
                    *known |= 1_u64.checked_shl(at.into())?;
                    at += 1;
                }
            }
        }
        Some(())
    }

    fn one_bit_more(&mut self, bits: &mut Bits<'_>, known: &mut u64) -> Option<()> {
        let mut at = self.first;
        while self.empty == 0 && at <= self.last {
            let (mut zeros, length) = split(bits.symbol(self.code)?);
            if length == 0 && zeros < 15 {
                self.empty = 1 << zeros | bits.number(zeros)?;
                break;
            }
            // The sign of a coefficient that is new.
            bits.skip(length)?;
            while at <= self.last {
                if *known >> at & 1 == 1 {
                    bits.skip(1)?;
                } else if let Some(left) = zeros.checked_sub(1) {
                    zeros = left;
                } else {
                    break;
                }
                at += 1;
            }
            if length > 0 {
                *known |= 1_u64.checked_shl(at.into())?;
            }
            at += 1;
        }
        if let Some(left) = self.empty.checked_sub(1) {
            self.empty = left;
            let rest = (at..=self.last).filter(|at| *known >> at & 1 == 1).count();
            bits.skip(rest as u8)?;
        }
        Some(())
    }
}

/// Two numbers of four bits.
pub(super) fn split(byte: u8) -> (u8, u8) {
    (byte >> 4, byte & 15)
}
