//! The names of kept pictures.

use std::{fmt, str::FromStr};

use time::{Date, Month, OffsetDateTime, Time};

use crate::{id::Micros, request::OutputFormat};

/// The path of kept pictures at an API. An event has `/files/NAME` as the URL of a picture, and the API that sends the
/// event puts its own address before it.
pub const FILES: &str = "/files/";

/// The length of the time in a name, as `20261128T004512Z`.
const TIME: usize = 16;
/// The length of the hour in a name, as `20261128T00`: the folder of the picture.
const HOUR: usize = 11;
/// The length of the random part: 128 bits in hexadecimal.
const SECRET: usize = 32;

/// The name of a kept picture, as `20261128T004512Z-0123456789abcdef0123456789abcdef.jpg`: when it was written (UTC), 128
/// random bits, and its format. Whoever knows it may read the picture, and nobody can guess it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    text: String,
    written: Micros,
    format: OutputFormat,
}

impl Name {
    /// A new name for a picture that is written `now`.
    pub fn new(now: Micros, format: OutputFormat) -> Self {
        let seconds = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (at.date(), at.time());
        let text = format!(
            "{:04}{:02}{:02}T{:02}{:02}{:02}Z-{:032x}.{}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            rand::random::<u128>(),
            extension(format),
        );
        Self { text, written: micros(at.unix_timestamp()), format }
    }

    /// The name in the URL of an event's picture, with an API's address or without; `None` for a data URI.
    pub fn of_url(url: &str) -> Option<Self> {
        let (_, name) = url.rsplit_once(FILES)?;
        name.parse().ok()
    }

    /// The picture's URL in an event: [`FILES`] and the name.
    pub fn url(&self) -> String {
        format!("{FILES}{}", self.text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When the picture was written, in whole seconds, by the clock of its worker.
    pub fn written(&self) -> Micros {
        self.written
    }

    /// The picture's format.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// The folder that it is in: the hour in which it was written.
    pub(super) fn folder(&self) -> &str {
        &self.text[..HOUR]
    }
}

impl FromStr for Name {
    type Err = ();

    /// Accepts exactly what [`Name::new`] makes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (stem, extension) = text.split_once('.').ok_or(())?;
        let (time, secret) = stem.split_once('-').ok_or(())?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if secret.len() != SECRET || !secret.bytes().all(hexadecimal) {
            return Err(());
        }
        let format = match extension {
            "jpg" => OutputFormat::Jpeg,
            "png" => OutputFormat::Png,
            "webp" => OutputFormat::Webp,
            _ => return Err(()),
        };
        let written = micros(timestamp(time).ok_or(())?);
        Ok(Self { text: text.to_owned(), written, format })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn extension(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Jpeg => "jpg",
        OutputFormat::Png => "png",
        OutputFormat::Webp => "webp",
    }
}

fn micros(seconds: i64) -> Micros {
    Micros(u64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000))
}

/// The seconds since the epoch of a time as `20261128T004512Z`.
fn timestamp(text: &str) -> Option<i64> {
    if text.len() != TIME || !text.is_ascii() || text.as_bytes()[8] != b'T' || text.as_bytes()[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &text[from..to];
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
    };
    let small = |from: usize| number(from, from + 2).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(small(4)?).ok()?;
    let date = Date::from_calendar_date(number(0, 4)?.into(), month, small(6)?).ok()?;
    let time = Time::from_hms(small(9)?, small(11)?, small(13)?).ok()?;
    let seconds = OffsetDateTime::new_utc(date, time).unix_timestamp();
    (seconds >= 0).then_some(seconds)
}

/// The first moment of a folder's hour; `None` if it is not a folder of pictures.
pub(super) fn folder_begins(folder: &str) -> Option<Micros> {
    if folder.len() != HOUR {
        return None;
    }
    timestamp(&format!("{folder}0000Z")).map(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28 00:45:12.5 UTC.
    const AT: Micros = Micros(1_795_826_712_500_000);

    #[test]
    fn a_name_says_when_it_was_written_and_what_it_is() {
        for (format, extension) in
            [(OutputFormat::Jpeg, "jpg"), (OutputFormat::Png, "png"), (OutputFormat::Webp, "webp")]
        {
            let name = Name::new(AT, format);
            assert!(name.as_str().starts_with("20261128T004512Z-"), "{name}");
            assert!(name.as_str().ends_with(extension));
            assert_eq!(name.written(), Micros(1_795_826_712_000_000));
            assert_eq!((name.format(), name.folder()), (format, "20261128T00"));
            assert_eq!(name.as_str().parse(), Ok(name.clone()));
            assert_eq!(Name::of_url(&name.url()), Some(name.clone()));
            assert_eq!(Name::of_url(&format!("https://a/files/b{}", name.url())), Some(name));
        }
        assert_ne!(Name::new(AT, OutputFormat::Png), Name::new(AT, OutputFormat::Png));
        assert_eq!(Name::of_url("data:image/png;base64,AAAA"), None);
    }

    #[test]
    fn nothing_else_is_a_name() {
        let good = "20261128T004512Z-0123456789abcdef0123456789abcdef.jpg";
        assert!(good.parse::<Name>().is_ok());
        let wrong = [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../20261128T004512Z-0123456789abcdef0123456789abcdef.jpg",
            "20261128T00/20261128T004512Z-0123456789abcdef0123456789abcdef.jpg",
            "20261128T004512Z-0123456789abcdef0123456789abcdef.jpg#1",
            "20261128T004512Z-0123456789abcdef0123456789abcdef.jpg/",
            "20261128T004512Z-0123456789abcdef0123456789abcdef.gif",
            "20261128T004512Z-0123456789abcdef0123456789abcdef",
            "20261128T004512Z-0123456789abcdef0123456789abcde.jpg",
            "20261128T004512Z-0123456789ABCDEF0123456789abcdef.jpg",
            "20261328T004512Z-0123456789abcdef0123456789abcdef.jpg",
            "20261128T244512Z-0123456789abcdef0123456789abcdef.jpg",
            "+0261128T004512Z-0123456789abcdef0123456789abcdef.jpg",
            "19691231T235959Z-0123456789abcdef0123456789abcdef.jpg",
            "2026\u{301}128T00451Z-0123456789abcdef0123456789abcdef.jpg",
        ];
        for text in wrong {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_is_an_hour() {
        let hour = Micros(1_795_824_000_000_000);
        assert_eq!(folder_begins("20261128T00"), Some(hour));
        for other in ["", "20261128", "20261128T24", "lost+found.", "20261128T0\u{0661}"] {
            assert_eq!(folder_begins(other), None, "{other}");
        }
    }
}
