//! Writes a picture as sixels.

use std::io::{self, Write};

use color_quant::NeuQuant;
use image::RgbaImage;

/// The most colours that terminals have.
const COLOURS: usize = 256;
/// How thoroughly colours are chosen, 1 to 30: a high number is fast.
const SAMPLING: i32 = 10;
/// The rows of one band.
const BAND: usize = 6;
/// A run of at least this many equal sixels is shorter as `!COUNT`.
const RUN: usize = 4;

/// Writes the picture, which has no transparent pixels.
pub fn write(out: &mut Vec<u8>, picture: &RgbaImage) -> io::Result<()> {
    let (width, height) = picture.dimensions();
    let colours = NeuQuant::new(SAMPLING, COLOURS, picture.as_raw());
    // 1;1: square pixels.
    write!(out, "\x1bP0;1;0q\"1;1;{width};{height}")?;
    for (number, rgb) in colours.color_map_rgb().chunks_exact(3).enumerate() {
        let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(|part| (u32::from(part) * 100 + 127) / 255);
        write!(out, "#{number};2;{red};{green};{blue}")?;
    }
    let width = width as usize;
    let indices: Vec<usize> = picture.pixels().map(|pixel| colours.index_of(&pixel.0)).collect();
    // The sixels of each colour in a band; empty for a colour that is not there.
    let mut sixels = vec![Vec::new(); COLOURS];
    for band in indices.chunks(width * BAND) {
        for (row, line) in band.chunks(width).enumerate() {
            for (x, colour) in line.iter().enumerate() {
                sixels[*colour].resize(width, 0);
                sixels[*colour][x] |= 1_u8 << row;
            }
        }
        for (colour, sixels) in sixels.iter_mut().enumerate().filter(|(_, sixels)| !sixels.is_empty()) {
            write!(out, "#{colour}")?;
            runs(out, sixels)?;
            sixels.clear();
            // Back to the start of the band.
            out.push(b'$');
        }
        out.push(b'-');
    }
    out.extend(b"\x1b\\");
    Ok(())
}

/// Writes the sixels of one colour, without the empty ones at the end.
fn runs(out: &mut Vec<u8>, sixels: &[u8]) -> io::Result<()> {
    let end = sixels.iter().rposition(|bits| *bits != 0).map_or(0, |last| last + 1);
    for run in sixels[..end].chunk_by(|one, other| one == other) {
        // `?` is the empty sixel.
        let sixel = b'?' + run[0];
        if run.len() >= RUN {
            write!(out, "!{}", run.len())?;
            out.push(sixel);
        } else {
            out.extend(std::iter::repeat_n(sixel, run.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    /// Draws sixels as a terminal does.
    fn shown(sixels: &[u8]) -> RgbaImage {
        let text = std::str::from_utf8(sixels).unwrap();
        let text = text.strip_prefix("\x1bP0;1;0q\"1;1;").unwrap().strip_suffix("\x1b\\").unwrap();
        let (size, _) = text.split_once('#').unwrap();
        let (width, height) = size.split_once(';').unwrap();
        let mut picture = RgbaImage::new(width.parse().unwrap(), height.parse().unwrap());
        let mut colours = vec![Rgba([0; 4]); COLOURS];
        let (mut colour, mut x, mut y) = (0, 0, 0);
        let mut rest = &text[size.len()..];
        while let Some(c) = rest.chars().next() {
            rest = &rest[1..];
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len());
            let mut count = 1;
            let mut sixel = c;
            match c {
                '#' => {
                    let numbers: Vec<u32> = rest[..end].split(';').map(|n| n.parse().unwrap()).collect();
                    rest = &rest[end..];
                    colour = numbers[0] as usize;
                    if let [_, 2, red, green, blue] = numbers[..] {
                        let [red, green, blue] = [red, green, blue].map(|part| (part * 255 / 100) as u8);
                        colours[colour] = Rgba([red, green, blue, 255]);
                    }
                    continue;
                }
                '$' => {
                    x = 0;
                    continue;
                }
                '-' => {
                    (x, y) = (0, y + BAND as u32);
                    continue;
                }
                '!' => {
                    count = rest[..end].parse().unwrap();
                    sixel = rest[end..].chars().next().unwrap();
                    rest = &rest[end + 1..];
                }
                _ => {}
            }
            for _ in 0..count {
                let bits = u32::from(sixel) - u32::from('?');
                for row in (0..BAND as u32).filter(|row| bits >> row & 1 == 1) {
                    picture.put_pixel(x, y + row, colours[colour]);
                }
                x += 1;
            }
        }
        picture
    }

    #[test]
    fn a_terminal_shows_the_picture_again() {
        let picture = RgbaImage::from_fn(40, 20, |x, y| {
            let red = if x < 20 { 200 } else { 20 };
            Rgba([red, (y * 12) as u8, 90, 255])
        });
        let mut out = Vec::new();
        write(&mut out, &picture).unwrap();
        let shown = shown(&out);
        let apart = picture.as_raw().iter().zip(shown.as_raw()).map(|(a, b)| u32::from(a.abs_diff(*b)));
        let mean = apart.clone().sum::<u32>() / picture.as_raw().len() as u32;
        assert!(mean <= 3 && apart.max().is_some_and(|most| most <= 40), "{mean}");
    }
}
