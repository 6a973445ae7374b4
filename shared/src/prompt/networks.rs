//! Tags for LoRAs in a prompt: `<lora:NAME>`, `<lora:NAME:SCALE>`, `<lora:NAME:SCALE OF TEXT:SCALE OF UNET>`.

use super::{
    error::PromptError,
    words::{is_word, shown},
};

/// A LoRA that a prompt names.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraTag {
    /// The name.
    pub name: String,
    /// The scale; 1 if the tag does not say.
    pub scale: f64,
    /// The scale in the UNet, if the tag has another one for it.
    pub unet_scale: Option<f64>,
}

/// The prompt without its tags, and the LoRAs that they name.
pub(super) fn taken_out(prompt: &str) -> Result<(String, Vec<LoraTag>), PromptError> {
    let (mut text, mut loras, mut rest) = (String::with_capacity(prompt.len()), Vec::new(), prompt);
    while let Some(start) = rest.find('<') {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        match tag(&from[1..]) {
            Some((kind, arguments, after)) => {
                loras.push(lora(kind, arguments)?);
                rest = after;
            }
            None => {
                text.push('<');
                rest = &from[1..];
            }
        }
    }
    text.push_str(rest);
    Ok((text, loras))
}

/// The kind and the arguments of a tag, and what follows it: `\w+:[^>]+>`.
fn tag(text: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = text.split_once(':')?;
    let (arguments, after) = rest.split_once('>')?;
    (!kind.is_empty() && kind.chars().all(is_word) && !arguments.is_empty())
        .then_some((kind, arguments, after))
}

fn lora(kind: &str, arguments: &str) -> Result<LoraTag, PromptError> {
    if !matches!(kind, "lora" | "lyco") {
        return Err(PromptError::Network(shown(kind)));
    }
    let wrong = || PromptError::Lora(shown(&format!("{kind}:{arguments}")));
    let mut parts = arguments.split(':');
    let name = parts.next().map(str::trim).filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    let mut number = || {
        let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        parts.next().map(|text| number(text).ok_or_else(wrong)).transpose()
    };
    let (scale, unet_scale) = (number()?.unwrap_or(1.0), number()?);
    if parts.next().is_some() {
        return Err(wrong());
    }
    Ok(LoraTag { name: name.to_owned(), scale, unet_scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, scale: f64) -> LoraTag {
        LoraTag { name: name.to_owned(), scale, unet_scale: None }
    }

    #[test]
    fn tags_are_taken_out() {
        let (text, loras) = taken_out("a <lora:ink:0.8>fox <lora:styles/oil> < 3 <b>x</b> <:y>").unwrap();
        assert_eq!(text, "a fox  < 3 <b>x</b> <:y>");
        assert_eq!(loras, [named("ink", 0.8), named("styles/oil", 1.0)]);
        assert_eq!(taken_out("<lora:a:-1><lyco:b:2>").unwrap().1, [named("a", -1.0), named("b", 2.0)]);
        let [both] = &taken_out("<lora:a:0.5:2>").unwrap().1[..] else { panic!("one LoRA") };
        assert_eq!((both.scale, both.unet_scale), (0.5, Some(2.0)));
        assert_eq!(taken_out("<lora:never closed").unwrap().0, "<lora:never closed");
    }

    #[test]
    fn other_tags_and_wrong_scales_are_errors() {
        assert_eq!(taken_out("<hypernet:x:1>"), Err(PromptError::Network("hypernet".into())));
        for wrong in ["<lora:x:y>", "<lora:x:nan>", "<lora::1>", "<lora:x:1:2:3>", "<lora: :1>"] {
            assert!(matches!(taken_out(wrong), Err(PromptError::Lora(_))), "{wrong}");
        }
    }
}
