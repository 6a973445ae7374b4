//! How much of the terminal a picture takes.

use console::Term;

/// The shape of a character: twice as high as wide. The pixels are those of the smallest characters that are used: a picture
/// that is sent pixel by pixel is then never higher than its rows.
const CELL: (u32, u32) = (6, 12);

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    columns: u16,
    rows: u16,
}

/// A rectangle of characters, and its pixels at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub columns: u16,
    pub rows: u16,
    pub width: u32,
    pub height: u32,
}

impl Terminal {
    /// The size of the terminal at standard error; `None` if there is none, or it has no size.
    pub fn at_standard_error() -> Option<Self> {
        let (rows, columns) = Term::stderr().size_checked()?;
        Some(Self { columns, rows })
    }

    /// The largest area with the shape of this picture that leaves a third of the rows free. `None` if that is nothing.
    pub fn area(self, width: u32, height: u32) -> Option<Area> {
        let (most_columns, most_rows) = (u64::from(self.columns), u64::from(self.rows) * 2 / 3);
        if most_columns == 0 || most_rows == 0 || width == 0 || height == 0 {
            return None;
        }
        let [width, height, cell_width, cell_height] = [width, height, CELL.0, CELL.1].map(u64::from);
        let columns = most_rows * cell_height * width / (height * cell_width);
        let (columns, rows) = if columns <= most_columns {
            (columns.max(1), most_rows)
        } else {
            (most_columns, (most_columns * cell_width * height / (width * cell_height)).max(1))
        };
        // Both are at most the terminal's.
        let (columns, rows) = (u16::try_from(columns).ok()?, u16::try_from(rows).ok()?);
        Some(Area { columns, rows, width: u32::from(columns) * CELL.0, height: u32::from(rows) * CELL.1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_and_leaves_room() {
        let area = |columns, rows, width, height| {
            let area = Terminal { columns, rows }.area(width, height);
            area.map(|area| (area.columns, area.rows, area.width, area.height))
        };
        assert_eq!(area(80, 24, 1024, 1024), Some((32, 16, 192, 192)));
        assert_eq!(area(80, 24, 128, 128), Some((32, 16, 192, 192)));
        assert_eq!(area(20, 60, 1000, 500), Some((20, 5, 120, 60)));
        assert_eq!(area(80, 24, 8, 2048), Some((1, 16, 6, 192)));
        assert_eq!(area(80, 24, 2048, 8), Some((80, 1, 480, 12)));
        for (columns, rows, width, height) in [(80, 1, 8, 8), (0, 24, 8, 8), (80, 24, 0, 8), (80, 24, 8, 0)] {
            assert_eq!(area(columns, rows, width, height), None);
        }
    }
}
