//! Names the format of bytes that are not a supported picture, for error messages.

/// Its media type, or another description.
pub(super) fn of(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("missing");
    }
    match infer::get(bytes).map(|kind| kind.mime_type()) {
        // These are texts with a known first line.
        None | Some("text/xml" | "text/html") => {}
        known => return known,
    }
    let text = std::str::from_utf8(bytes).ok()?;
    // The name of a drawing's first element may come after comments and declarations.
    let is_drawing = text.char_indices().nth(4096).map_or(text, |(end, _)| &text[..end]).contains("<svg");
    Some(if is_drawing { "image/svg+xml" } else { "text" })
}
