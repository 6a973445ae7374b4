//! The form in which a terminal takes pictures.

use std::io::{self, Cursor, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use image::{DynamicImage, ImageFormat, imageops::FilterType};

use super::{area::Area, sixel};

/// The most bytes of one of kitty's sequences.
const KITTY_PIECE: usize = 4096;
/// A sixel is a column of six pixels.
const SIXEL: u32 = 6;
/// How much larger than the smallest the characters of most terminals are.
const LARGER: u32 = 2;

/// A form of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Kitty's graphics protocol.
    Kitty,
    /// iTerm2's inline pictures.
    Iterm2,
    /// Sixels, of DEC's terminals.
    Sixel,
}

impl Form {
    /// The form that the terminal of this environment shows, if it is known.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let [term, program, other] =
            ["TERM", "TERM_PROGRAM", "LC_TERMINAL"].map(|name| variable(name).unwrap_or_default());
        let begins = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
        // The variables of the terminal outside say nothing of tmux and screen, which pass no pictures on.
        if term.is_empty() || begins(&["tmux", "screen", "dumb", "linux"]) {
            None
        } else if begins(&["xterm-kitty", "xterm-ghostty"]) || program == "ghostty" {
            Some(Self::Kitty)
        } else if ["iTerm.app", "WezTerm", "mintty"].contains(&&*program) || other == "iTerm2" {
            Some(Self::Iterm2)
        } else {
            begins(&["foot", "mlterm", "contour"]).then_some(Self::Sixel)
        }
    }

    /// Writes the picture for this area, from the cursor on.
    pub fn write(self, out: &mut Vec<u8>, picture: &DynamicImage, area: Area, id: u32) -> io::Result<()> {
        match self {
            Self::Kitty => kitty(out, &png(picture, area)?, area, id),
            Self::Iterm2 => iterm2(out, &png(picture, area)?, area),
            Self::Sixel => {
                // No row of sixels may reach into the line below.
                let height = (area.height / SIXEL * SIXEL).max(SIXEL);
                let scaled = picture.resize_exact(area.width, height, FilterType::Triangle);
                sixel::write(out, &scaled.to_rgba8())
            }
        }
    }
}

/// A PNG with no more pixels than most terminals show in the area: they scale it.
fn png(picture: &DynamicImage, area: Area) -> io::Result<Vec<u8>> {
    let (width, height) = (area.width * LARGER, area.height * LARGER);
    let is_larger = picture.width() > width && picture.height() > height;
    let scaled = is_larger.then(|| picture.thumbnail_exact(width, height));
    let mut png = Cursor::new(Vec::new());
    let picture = scaled.as_ref().unwrap_or(picture);
    DynamicImage::from(picture.to_rgb8()).write_to(&mut png, ImageFormat::Png).map_err(io::Error::other)?;
    Ok(png.into_inner())
}

/// `q=2`: the terminal answers nothing, which a shell would read as typed. `C=1`: the cursor stays. A picture with the same
/// `i` replaces the one before.
fn kitty(out: &mut Vec<u8>, png: &[u8], area: Area, id: u32) -> io::Result<()> {
    let text = STANDARD.encode(png);
    let mut pieces = text.as_bytes().chunks(KITTY_PIECE).peekable();
    let mut keys = format!("a=T,f=100,t=d,i={id},p=1,q=2,C=1,c={},r={},", area.columns, area.rows);
    while let Some(piece) = pieces.next() {
        let more = u8::from(pieces.peek().is_some());
        write!(out, "\x1b_G{keys}m={more};")?;
        out.extend(piece);
        out.extend(b"\x1b\\");
        "q=2,".clone_into(&mut keys);
    }
    Ok(())
}

fn iterm2(out: &mut Vec<u8>, png: &[u8], area: Area) -> io::Result<()> {
    write!(
        out,
        "\x1b]1337;File=inline=1;size={};width={};height={};preserveAspectRatio=0;doNotMoveCursor=1:{}\x07",
        png.len(),
        area.columns,
        area.rows,
        STANDARD.encode(png)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_known_by_its_variables() {
        let xterm = ("TERM", "xterm-256color");
        for (variables, form) in [
            (&[("TERM", "xterm-kitty")][..], Some(Form::Kitty)),
            (&[xterm, ("TERM_PROGRAM", "ghostty")], Some(Form::Kitty)),
            (&[xterm, ("TERM_PROGRAM", "iTerm.app")], Some(Form::Iterm2)),
            (&[xterm, ("LC_TERMINAL", "iTerm2")], Some(Form::Iterm2)),
            (&[("TERM", "foot-extra")], Some(Form::Sixel)),
            (&[xterm], None),
            (&[("TERM", "tmux-256color"), ("LC_TERMINAL", "iTerm2")], None),
            (&[("TERM", "screen.xterm-kitty")], None),
            (&[("TERM", "dumb"), ("TERM_PROGRAM", "ghostty")], None),
            (&[("TERM_PROGRAM", "ghostty")], None),
        ] {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(Form::of_terminal(variable), form, "{variables:?}");
        }
    }

    #[test]
    fn a_large_picture_is_sent_to_kitty_in_pieces_of_the_size_of_the_area() {
        let noise = image::RgbImage::from_fn(400, 400, |x, y| {
            image::Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, (x ^ y) as u8])
        });
        let area = Area { columns: 20, rows: 10, width: 120, height: 120 };
        let mut out = Vec::new();
        Form::Kitty.write(&mut out, &noise.into(), area, 7).unwrap();
        let text = String::from_utf8(out).unwrap();
        let pieces: Vec<&str> = text.split_terminator("\x1b\\").collect();
        assert!(pieces.len() > 2);
        let mut base64 = String::new();
        for (i, piece) in pieces.iter().enumerate() {
            let (keys, data) = piece.strip_prefix("\x1b_G").unwrap().split_once(';').unwrap();
            let more = u8::from(i + 1 < pieces.len());
            match i {
                0 => assert_eq!(keys, format!("a=T,f=100,t=d,i=7,p=1,q=2,C=1,c=20,r=10,m={more}")),
                _ => assert_eq!(keys, format!("q=2,m={more}")),
            }
            assert!(data.len() <= KITTY_PIECE && (more == 0 || data.len() % 4 == 0));
            base64.push_str(data);
        }
        let shown = image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap();
        assert_eq!((shown.width(), shown.height()), (240, 240));
    }
}
