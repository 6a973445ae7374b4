//! The tables for reading scans: Huffman codes, and the restart interval.

/// The current tables; later ones replace earlier ones.
#[derive(Default)]
pub(super) struct Tables {
    /// Of the first coefficients.
    dc: [Option<Huffman>; 4],
    /// Of the others.
    ac: [Option<Huffman>; 4],
    /// Units between two restart markers; 0 for none.
    pub(super) restarts: usize,
}

impl Tables {
    /// A segment with Huffman tables.
    pub(super) fn read_huffman(&mut self, mut data: &[u8]) -> Option<()> {
        while let Some((which, rest)) = data.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols)?;
            let tables = match which >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(which & 15))? =
                Some(Huffman { counts: *counts, symbols: symbols.to_vec() });
            data = rest;
        }
        Some(())
    }

    /// A segment with the restart interval.
    pub(super) fn read_restarts(&mut self, data: &[u8]) -> Option<()> {
        self.restarts = usize::from(u16::from_be_bytes(*data.first_chunk()?));
        Some(())
    }

    /// The table of the first coefficients that a scan's header names.
    pub(super) fn dc(&self, which: u8) -> Option<&Huffman> {
        self.dc.get(usize::from(which))?.as_ref()
    }

    /// The same, of the others.
    pub(super) fn ac(&self, which: u8) -> Option<&Huffman> {
        self.ac.get(usize::from(which))?.as_ref()
    }
}

/// A Huffman code.
pub(super) struct Huffman {
    /// How many symbols have codes of 1 to 16 bits.
    counts: [u8; 16],
    /// In the order of their codes.
    symbols: Vec<u8>,
}

impl Huffman {
    /// Reads the next symbol, bit by bit.
    pub(super) fn symbol(&self, mut bit: impl FnMut() -> Option<u32>) -> Option<u8> {
        // `first` is the first code of this length, `before` counts the symbols of shorter ones.
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in self.counts.map(u32::from) {
            code |= bit()?;
            if let Some(index) = code.checked_sub(first)
                && index < count
            {
                return self.symbols.get((before + index) as usize).copied();
            }
            before += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}
