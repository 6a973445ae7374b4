//! Finds what changes a prompt from step to step, which is not supported.

use super::{
    error::PromptError,
    side::Side,
    words::{positions, shown},
};

/// An open bracket.
struct Open {
    /// Whether it is `[`.
    square: bool,
    /// Its byte position.
    at: usize,
    /// The byte position of the last colon directly in it.
    colon: Option<usize>,
    /// Whether there is a bar directly in it.
    bar: bool,
}

/// Checks that a prompt is the same at each step.
pub(super) fn check(prompt: &str, side: Side) -> Result<(), PromptError> {
    if side == Side::Positive && positions(prompt, "AND").next().is_some() {
        return Err(PromptError::And);
    }
    let mut open: Vec<Open> = Vec::new();
    let mut chars = prompt.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' | '[' => open.push(Open { square: c == '[', at, colon: None, bar: false }),
            ':' => open.iter_mut().next_back().into_iter().for_each(|open| open.colon = Some(at)),
            '|' => open.iter_mut().next_back().into_iter().for_each(|open| open.bar = true),
            ')' | ']' => {
                let Some(last) = open.pop_if(|open| open.square == (c == ']')) else { continue };
                let whole = || shown(&prompt[last.at..=at]);
                if last.square && last.bar {
                    return Err(PromptError::Alternation(whole()));
                }
                if last.square && last.colon.is_some_and(|colon| is_number(&prompt[colon + 1..at])) {
                    return Err(PromptError::Editing(whole()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a text is a number without a sign, with spaces around it.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(prompt: &str) -> Result<(), PromptError> {
        check(prompt, Side::Positive)
    }

    #[test]
    fn editing_alternation_and_and_are_found() {
        for editing in ["a [b:c:0.5]", "[b:0.25]", "[b::12]", "((x) [ (y:1.2) : .5 ])", "[a:b: 0.5 ]"] {
            assert!(matches!(result(editing), Err(PromptError::Editing(_))), "{editing}");
        }
        for alternation in ["[a|b]", "x [a (y) | [b] ] z", "[a|]"] {
            assert!(matches!(result(alternation), Err(PromptError::Alternation(_))), "{alternation}");
        }
        assert_eq!(result("a cat AND a dog"), Err(PromptError::And));
        assert_eq!(check("a cat AND a dog", Side::Negative), Ok(()));
    }

    #[test]
    fn emphasis_and_text_are_not() {
        for text in [
            "[b]",
            "[a:b]",
            "(a:0.5)",
            "[(a:0.5)]",
            "a|b",
            "(a|b)",
            r"\[a:b:0.5\]",
            "[a:-1]",
            "SAND AND_ band",
            "a:0.5]",
            "[[a]",
            ")(",
            "a: b | c",
        ] {
            assert_eq!(result(text), Ok(()), "{text}");
        }
    }
}
