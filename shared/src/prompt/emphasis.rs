//! Emphasis: `(a)`, `((a))`, `(a:1.3)`, `[a]`, escapes and `BREAK`.

use super::{
    error::PromptError,
    words::{positions, shown},
};

/// The weight of round brackets without a number; square brackets divide by it.
const BRACKET: f64 = 1.1;

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A text and its weight. 1 is no emphasis.
    Text(String, f64),
    /// What follows begins a new chunk of tokens.
    Break,
}

/// A part while the brackets around it may still be open.
struct Piece {
    text: String,
    weight: f64,
}

/// The word that ends a chunk, and its weight outside of brackets. In brackets it is a word like others, with a weight
/// that they multiply.
const BREAK: (&str, f64) = ("BREAK", -1.0);

/// The parts of a prompt. Neighbours of the same weight are one part. There is at least one.
pub(super) fn parts(prompt: &str) -> Result<Vec<Part>, PromptError> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut round, mut square): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut rest = prompt;
    while let Some(token) = Token::first(rest) {
        let length = token.length();
        let multiply = |pieces: &mut [Piece], by: f64| pieces.iter_mut().for_each(|piece| piece.weight *= by);
        match token {
            Token::Escaped(text) => pieces.push(Piece { text: text.to_owned(), weight: 1.0 }),
            Token::Round => round.push(pieces.len()),
            Token::Square => square.push(pieces.len()),
            Token::Weight { number, all } => match round.pop() {
                Some(from) => {
                    let weight = number.parse().map_err(|_| PromptError::Weight(shown(number)))?;
                    multiply(&mut pieces[from..], weight);
                }
                None => push_text(&mut pieces, all),
            },
            Token::RoundEnd => match round.pop() {
                Some(from) => multiply(&mut pieces[from..], BRACKET),
                None => push_text(&mut pieces, ")"),
            },
            Token::SquareEnd => match square.pop() {
                Some(from) => multiply(&mut pieces[from..], 1.0 / BRACKET),
                None => push_text(&mut pieces, "]"),
            },
            Token::Text(text) => push_text(&mut pieces, text),
        }
        rest = &rest[length..];
    }
    for (open, by) in [(round, BRACKET), (square, 1.0 / BRACKET)] {
        for from in open {
            pieces[from..].iter_mut().for_each(|piece| piece.weight *= by);
        }
    }
    Ok(merged(pieces))
}

/// Adds a text, divided at each `BREAK`; the space around it belongs to it.
fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    let (word, weight) = BREAK;
    let mut start = 0;
    for at in positions(text, word) {
        // Two in a row share the space between them.
        let before = if at > start { text[start..at].trim_end() } else { "" };
        pieces.push(Piece { text: before.to_owned(), weight: 1.0 });
        pieces.push(Piece { text: word.to_owned(), weight });
        let after = &text[at + word.len()..];
        start = text.len() - after.trim_start().len();
    }
    pieces.push(Piece { text: text[start..].to_owned(), weight: 1.0 });
}

fn merged(pieces: Vec<Piece>) -> Vec<Part> {
    let mut merged: Vec<Piece> = Vec::new();
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if last.weight == piece.weight => last.text.push_str(&piece.text),
            _ => merged.push(piece),
        }
    }
    if merged.is_empty() {
        return vec![Part::Text(String::new(), 1.0)];
    }
    let part = |Piece { text, weight }| match (&*text, weight) == BREAK {
        true => Part::Break,
        false => Part::Text(text, weight),
    };
    merged.into_iter().map(part).collect()
}

/// What a prompt consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    /// The character after a backslash that takes its meaning; nothing after another backslash, which vanishes.
    Escaped(&'a str),
    Round,
    Square,
    /// `:1.3)`: the number, and all of it.
    Weight {
        number: &'a str,
        all: &'a str,
    },
    RoundEnd,
    SquareEnd,
    Text(&'a str),
}

impl<'a> Token<'a> {
    /// `None` at the end.
    fn first(text: &'a str) -> Option<Self> {
        Some(match text.chars().next()? {
            '\\' => match text[1..].chars().next() {
                Some('(' | ')' | '[' | ']' | '\\') => Self::Escaped(&text[1..2]),
                _ => Self::Escaped(""),
            },
            '(' => Self::Round,
            '[' => Self::Square,
            ')' => Self::RoundEnd,
            ']' => Self::SquareEnd,
            ':' => weight(text).unwrap_or(Self::Text(&text[..1])),
            _ => Self::Text(&text[..text.find(['\\', '(', ')', '[', ']', ':']).unwrap_or(text.len())]),
        })
    }

    /// In bytes.
    fn length(self) -> usize {
        match self {
            Self::Escaped(text) => 1 + text.len(),
            Self::Weight { all: text, .. } | Self::Text(text) => text.len(),
            Self::Round | Self::Square | Self::RoundEnd | Self::SquareEnd => 1,
        }
    }
}

/// `:\s*([+-]?[.\d]+)\s*\)`.
fn weight(text: &str) -> Option<Token<'_>> {
    let number = text.strip_prefix(':')?.trim_start();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let rest = digits.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let number = &number[..number.len() - rest.len()];
    let after = rest.trim_start().strip_prefix(')')?;
    (digits.len() > rest.len()).then(|| Token::Weight { number, all: &text[..text.len() - after.len()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts, with weights in thousandths.
    fn read(prompt: &str) -> Vec<(String, i64)> {
        let part = |part| match part {
            Part::Text(text, weight) => (text, (weight * 1000.0).round() as i64),
            Part::Break => ("BREAK".to_owned(), -1),
        };
        parts(prompt).unwrap().into_iter().map(part).collect()
    }

    fn expect(prompt: &str, parts: &[(&str, i64)]) {
        let parts: Vec<_> = parts.iter().map(|(text, weight)| ((*text).to_owned(), *weight)).collect();
        assert_eq!(read(prompt), parts, "{prompt:?}");
    }

    #[test]
    fn brackets_and_numbers_weigh() {
        expect("", &[("", 1000)]);
        expect("a fox", &[("a fox", 1000)]);
        expect("a (red) fox", &[("a ", 1000), ("red", 1100), (" fox", 1000)]);
        expect("((a)) [b]", &[("a", 1210), (" ", 1000), ("b", 909)]);
        expect("(a:1.3)(b : -.5 )", &[("a", 1300), ("b ", -500)]);
        expect("(a (b:2) c:0.5)", &[("a ", 500), ("b", 1000), (" c", 500)]);
        expect("(a [b] c)", &[("a ", 1100), ("b", 1000), (" c", 1100)]);
        // What is not closed weighs to the end; what is not opened is text.
        expect("(a [b", &[("a ", 1100), ("b", 1000)]);
        expect("a) b] c:1.3)", &[("a) b] c:1.3)", 1000)]);
        expect("a: b", &[("a: b", 1000)]);
    }

    #[test]
    fn backslashes_make_text_of_brackets_and_vanish_elsewhere() {
        expect(r"\(a\) \[b\] \\ \c", &[(r"(a) [b] \ c", 1000)]);
        expect(r"(\(a\):1.2)", &[("(a)", 1200)]);
        expect("\\", &[("", 1000)]);
    }

    #[test]
    fn break_divides_outside_of_brackets() {
        expect("a BREAK b", &[("a", 1000), ("BREAK", -1), ("b", 1000)]);
        expect("a BREAK  BREAK b", &[("a", 1000), ("BREAK", -1), ("", 1000), ("BREAK", -1), ("b", 1000)]);
        expect("(a BREAK b)", &[("a", 1100), ("BREAK", -1100), ("b", 1100)]);
        expect("BREAKFAST OUTBREAK break", &[("BREAKFAST OUTBREAK break", 1000)]);
        expect("BREAK", &[("", 1000), ("BREAK", -1), ("", 1000)]);
    }

    #[test]
    fn a_weight_that_is_not_a_number_is_an_error() {
        assert_eq!(parts("(a:1.2.3)"), Err(PromptError::Weight("1.2.3".into())));
        assert_eq!(parts("(a:..)"), Err(PromptError::Weight("..".into())));
    }
}
