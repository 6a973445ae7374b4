//! A picture's components, and which of their coefficients have been read.

use super::{
    entropy::{Band, Bits, Pass, split},
    tables::Tables,
};

/// Nothing of a coefficient has been read.
const NOTHING: u8 = u8::MAX;

/// The components of a picture.
pub(super) struct Frame {
    progressive: bool,
    /// Units of a scan with several components: across and down.
    units: [usize; 2],
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Its blocks in a unit: across and down.
    in_unit: [usize; 2],
    /// Its blocks in a scan of only this component: across and down.
    blocks: [usize; 2],
    /// For each coefficient, how many of its lowest bits are still missing.
    missing: [u8; 64],
    /// For a progressive picture's blocks, in rows of whole units: which coefficients are not 0 so far.
    known: Vec<u64>,
}

impl Frame {
    /// Reads the header of a frame of the given width and height.
    pub(super) fn new(progressive: bool, data: &[u8], size: [usize; 2]) -> Option<Self> {
        let (&[precision, a, b, c, d, count], rest) = data.split_first_chunk::<6>()?;
        let [width, height] = [[c, d], [a, b]].map(|side| usize::from(u16::from_be_bytes(side)));
        // Memory is allocated only for a size that was checked.
        if precision != 8 || [width, height] != size {
            return None;
        }
        let (listed, _) = rest.as_chunks::<3>();
        let listed = listed.get(..count.into())?;
        let in_unit = |sampling: u8| {
            let (across, down) = split(sampling);
            let right = (1..=4).contains(&across) && (1..=4).contains(&down);
            right.then_some([across, down].map(usize::from))
        };
        let in_units: Option<Vec<_>> = listed.iter().map(|[_, sampling, _]| in_unit(*sampling)).collect();
        let in_units = in_units.filter(|all| (1..=4).contains(&all.len()))?;
        let most = [0, 1].map(|side| in_units.iter().map(|in_unit| in_unit[side]).max().unwrap_or(1));
        let units = [width.div_ceil(8 * most[0]), height.div_ceil(8 * most[1])];
        let component = |(&[id, _, _], in_unit): (&[u8; 3], [usize; 2])| Component {
            id,
            in_unit,
            blocks: [(width * in_unit[0]).div_ceil(8 * most[0]), (height * in_unit[1]).div_ceil(8 * most[1])],
            missing: [NOTHING; 64],
            known: vec![0; if progressive { units[0] * in_unit[0] * units[1] * in_unit[1] } else { 0 }],
        };
        let components = listed.iter().zip(in_units).map(component).collect();
        Some(Self { progressive, units, components })
    }

    /// Whether every coefficient is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.components.iter().all(|component| component.missing == [0; 64])
    }

    /// Reads a scan; its data begins at the offset `at`. Returns the offset of its end, or `None` if it is not
    /// complete.
    pub(super) fn scan(&mut self, header: &[u8], tables: &Tables, file: &[u8], at: usize) -> Option<usize> {
        let (count, rest) = header.split_first()?;
        let (listed, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let &[first, last, bits] = rest.first_chunk::<3>()?;
        let (listed, _) = listed.as_chunks::<2>();
        let mut passes = Vec::with_capacity(listed.len());
        for [id, codes] in listed {
            let which = self.components.iter().position(|component| component.id == *id)?;
            let pass = self.pass(tables, split(*codes), (first, last), split(bits))?;
            passes.push((which, pass));
        }
        let mut data = Bits::new(file, at);
        match &mut passes[..] {
            [] => return None,
            [(which, pass)] => {
                self.components.get_mut(*which)?.walk(pass, self.units[0], tables.restarts, &mut data)?
            }
            // In a progressive picture a scan of several components has only first coefficients.
            _ if self.progressive && first > 0 => return None,
            several => self.walk(several, tables.restarts, &mut data)?,
        }
        let missing = if self.progressive { split(bits).1 } else { 0 };
        let range = if self.progressive { usize::from(first)..=usize::from(last) } else { 0..=63 };
        for (which, _) in passes {
            self.components.get_mut(which)?.missing.get_mut(range.clone())?.fill(missing);
        }
        data.end()
    }

    /// The contents of a scan by its header: the tables' numbers, the coefficients, and how many of their bits were
    /// missing before and are now.
    fn pass<'a>(
        &self,
        tables: &'a Tables,
        (dc, ac): (u8, u8),
        (first, last): (u8, u8),
        (before, _): (u8, u8),
    ) -> Option<Pass<'a>> {
        if !self.progressive {
            return Some(Pass::Sequential { dc: tables.dc(dc)?, ac: tables.ac(ac)? });
        }
        match (first, before) {
            (0, _) if last > 0 => None,
            (0, 0) => Some(Pass::DcFirst(tables.dc(dc)?)),
            (0, _) => Some(Pass::DcRefine),
            _ if last < first || last > 63 => None,
            _ => {
                let band = Band { first, last, code: tables.ac(ac)?, empty: 0 };
                Some(if before == 0 { Pass::AcFirst(band) } else { Pass::AcRefine(band) })
            }
        }
    }

    /// A scan of several components: unit by unit, with some blocks of each.
    fn walk(&mut self, passes: &mut [(usize, Pass<'_>)], restarts: usize, data: &mut Bits<'_>) -> Option<()> {
        let [across, down] = self.units;
        for unit in 0..across * down {
            if restarts > 0 && unit > 0 && unit % restarts == 0 {
                data.restart()?;
            }
            for (which, pass) in &mut *passes {
                let [blocks, rows] = self.components.get(*which)?.in_unit;
                for _ in 0..blocks * rows {
                    // No state is kept for first coefficients.
                    pass.block(data, &mut 0)?;
                }
            }
        }
        Some(())
    }
}

impl Component {
    /// A scan of only this component: block by block.
    fn walk(
        &mut self,
        pass: &mut Pass<'_>,
        units: usize,
        restarts: usize,
        data: &mut Bits<'_>,
    ) -> Option<()> {
        let [across, down] = self.blocks;
        let stride = units * self.in_unit[0];
        for block in 0..across * down {
            if restarts > 0 && block > 0 && block % restarts == 0 {
                data.restart()?;
                pass.restart();
            }
            let at = block / across * stride + block % across;
            // A sequential picture has one pass, so nothing is kept for the next.
            pass.block(data, self.known.get_mut(at).unwrap_or(&mut 0))?;
        }
        Some(())
    }
}
