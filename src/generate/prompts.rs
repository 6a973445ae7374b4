//! The prompts of `glimpse generate`: one, or those of a file.

use std::{
    fs::File,
    io::{Read, stdin},
    path::Path,
};

use super::failure::Failure;

/// In the place of the prompt: read it from standard input.
const STANDARD_INPUT: &str = "-";
/// The limit for a prompt from standard input in bytes, larger than the longest valid prompt.
const MOST_BYTES: u64 = 64 * 1024;
/// The limit for a file of prompts in bytes.
const MOST_BYTES_OF_PROMPTS: u64 = 4 << 20;

/// The given prompt; for `-` the text from standard input without its last line end.
///
/// # Errors
/// If standard input cannot be read, is empty, too long, or not UTF-8.
pub fn given(given: String) -> Result<String, Failure> {
    if given != STANDARD_INPUT {
        return Ok(given);
    }
    let wrong = |error: String| Failure::BadInput(format!("prompt (standard input): {error}"));
    let text = text(stdin(), MOST_BYTES).map_err(wrong)?;
    let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(text.to_owned())
}

/// The prompts of a file, one a line; `-` is standard input. Blank lines and lines that begin with `#` are no prompts.
///
/// # Errors
/// If the file cannot be read, has no prompts, is too long, or not UTF-8.
pub fn of_file(path: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |error: String| Failure::BadInput(format!("--prompts {}: {error}", path.display()));
    let text = match path.as_os_str() == STANDARD_INPUT {
        true => text(stdin(), MOST_BYTES_OF_PROMPTS),
        false => {
            let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
            text(file, MOST_BYTES_OF_PROMPTS)
        }
    };
    let prompts = lines(&text.map_err(wrong)?);
    if prompts.is_empty() {
        return Err(wrong("it has no prompt: write one on each line".to_owned()));
    }
    Ok(prompts)
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// A text of at most so many bytes, without a byte order mark, which some editors write.
fn text(from: impl Read, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("it has more than {most} bytes"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_prompt_on_each_line() {
        let text = "\u{feff}# animals\r\na fox\r\n\n   \n\ta cat #2 \n  # none\na dog";
        let text = super::text(text.as_bytes(), 100).unwrap();
        assert_eq!(lines(&text), ["a fox", "a cat #2", "a dog"]);
    }
}
