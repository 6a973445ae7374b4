//! What bytes are that are no picture of a format that is read, for people.

/// Its media type, or what else is known of it.
pub(super) fn of(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("missing");
    }
    match infer::get(bytes).map(|kind| kind.mime_type()) {
        // These are texts with a first line that is known.
        None | Some("text/xml" | "text/html") => {}
        known => return known,
    }
    let text = std::str::from_utf8(bytes).ok()?;
    // The name of a drawing's first element may come after comments and declarations.
    let is_drawing = text.char_indices().nth(4096).map_or(text, |(end, _)| &text[..end]).contains("<svg");
    Some(if is_drawing { "image/svg+xml" } else { "text" })
}
