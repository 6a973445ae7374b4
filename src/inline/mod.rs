//! Pictures inside a terminal, in the forms that terminals know: kitty's, iTerm2's and sixel.
//!
//! A picture is decoded here, with limits, and encoded anew. So nothing of what a server sends reaches the terminal.

mod area;
mod form;
mod sixel;

use std::{
    io::{self, Cursor, IsTerminal, Write, stderr},
    process,
};

use clap::ValueEnum;
use image::{DynamicImage, ImageReader, Limits};

use area::{Area, Terminal};
use form::Form;

/// More than the largest picture of a job has, on each side.
const MOST_PIXELS: u32 = 4096;
/// The most memory for decoding.
const MOST_BYTES: u64 = 256 << 20;

/// Whether pictures are shown in the terminal, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Inline {
    /// If the terminal is known to show them.
    Auto,
    /// Not at all.
    Never,
    /// In kitty's form.
    Kitty,
    /// In iTerm2's form.
    Iterm2,
    /// As sixels.
    Sixel,
}

/// A place above the progress bar, where each picture replaces the one before.
pub struct Canvas {
    form: Form,
    /// Kitty's number of the picture at this place.
    id: u32,
    place: Option<(Terminal, Area)>,
}

impl Canvas {
    /// `None` if standard error is no terminal, or one that does not show pictures.
    pub fn new(inline: Inline) -> Option<Self> {
        if !stderr().is_terminal() {
            return None;
        }
        let form = match inline {
            Inline::Auto => Form::of_terminal(|name| std::env::var(name).ok())?,
            Inline::Never => return None,
            Inline::Kitty => Form::Kitty,
            Inline::Iterm2 => Form::Iterm2,
            Inline::Sixel => Form::Sixel,
        };
        // Other programs show pictures in the same terminal under numbers of their own.
        Some(Self { form, id: process::id() << 8, place: None })
    }

    /// Draws a JPEG, PNG or WebP. The cursor is at the start of the line below the place, and stays there.
    ///
    /// # Errors
    /// If this is no picture, or the terminal cannot be written to.
    pub fn draw(&mut self, encoded: &[u8]) -> io::Result<()> {
        let picture = decode(encoded)?;
        let Some(terminal) = Terminal::at_standard_error() else { return Ok(()) };
        let mut out = Vec::new();
        let area = match self.place {
            Some((before, area)) if before == terminal => area,
            // The first picture, or lines have moved.
            _ => {
                let Some(area) = terminal.area(picture.width(), picture.height()) else { return Ok(()) };
                self.id = self.id.wrapping_add(1);
                out.resize(area.rows.into(), b'\n');
                self.place = Some((terminal, area));
                area
            }
        };
        // Save the cursor, go up, draw, restore the cursor.
        write!(out, "\x1b7\r\x1b[{}A", area.rows)?;
        self.form.write(&mut out, &picture, area, self.id)?;
        out.extend(b"\x1b8");
        let mut terminal = stderr().lock();
        terminal.write_all(&out)?;
        terminal.flush()
    }

    /// The picture stays where it is, and the next one comes below.
    pub fn leave(&mut self) {
        self.place = None;
    }
}

fn decode(encoded: &[u8]) -> io::Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(encoded)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS);
    limits.max_image_height = Some(MOST_PIXELS);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    reader.decode().map_err(io::Error::other)
}
