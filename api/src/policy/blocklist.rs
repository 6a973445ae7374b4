//! A list of words that no prompt may have.

use std::sync::Arc;

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 4 << 20;

/// Words and phrases. Letters count without their case, and everything that is not a letter or a digit as a space. So the
/// weights and brackets of a prompt's syntax hide no word; other spellings of it do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocklist(Arc<[String]>);

impl Blocklist {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is too large or is not text; the line of an entry without letters and digits.
    pub fn read(path: &str) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("cannot read the file: {error}"))?.len();
        if size > LARGEST_FILE {
            return Err(format!("the file has {size} bytes, and {LARGEST_FILE} are allowed"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read the file: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let words = spaced(entry);
            if words.trim().is_empty() {
                return Err(format!("line {} has no letter and no digit: {entry}", number + 1));
            }
            entries.push(words);
        }
        Ok(Self(entries.into()))
    }

    /// Whether the text has one of the entries, as whole words.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text = spaced(text);
        self.0.iter().any(|entry| text.contains(entry.as_str()))
    }
}

/// The words of a text in lower case, with one space before and after each.
fn spaced(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 2);
    words.push(' ');
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        words.extend(word.chars().flat_map(char::to_lowercase));
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_match_in_any_case_and_syntax() {
        let list = Blocklist::parse("# ours\n\nGore\nbad Thing # a phrase\nÜbel\n").unwrap();
        for prompt in ["gore", "a GORE, red", "((gore:1.3))", "a bad-thing", "bad\n thing", "übel", "[ÜBEL]"]
        {
            assert!(list.matches(prompt), "{prompt}");
        }
        for prompt in ["", "gorey", "categore", "a bad red thing", "ours", "a phrase"] {
            assert!(!list.matches(prompt), "{prompt}");
        }
    }

    #[test]
    fn a_wrong_file_is_named() {
        assert_eq!(Blocklist::parse("a\n ---\n"), Err("line 2 has no letter and no digit: ---".to_owned()));
        assert!(Blocklist::read("/nowhere").unwrap_err().starts_with("cannot read the file"));
        assert!(!Blocklist::parse("").unwrap().matches("anything"));
    }
}
