//! A recipe as XMP: one property in a namespace of our own, whose text is the recipe's JSON.

use quick_xml::{
    NsReader, XmlVersion,
    escape::partial_escape,
    events::Event,
    name::ResolveResult::{self, Bound},
};

/// The namespace of the property.
const NAMESPACE: &str = "urn:glimpse:recipe:1#";
/// The name of the property.
const PROPERTY: &str = "recipe";
/// The most bytes of a packet that is read.
const MOST_BYTES: usize = 256 * 1024;

/// The packet with a recipe's JSON.
pub(super) fn write(json: &str) -> String {
    // The only characters of a JSON text that XML cannot have.
    let json = json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
         xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
         xmlns:glimpse=\"{NAMESPACE}\"><glimpse:{PROPERTY}>{}</glimpse:{PROPERTY}></rdf:Description></rdf:RDF></x:xmpmeta>\
         <?xpacket end=\"r\"?>",
        partial_escape(json)
    )
}

/// The recipe's JSON in a packet; `None` if it has none. Other programs may have written the property as an attribute.
pub(super) fn read(packet: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(packet.get(..packet.len().min(MOST_BYTES))?).ok()?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let mut json: Option<String> = None;
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let is_ours = is_ours(&namespace);
        match (event, &mut json) {
            (Event::Start(start), None) if is_ours && start.local_name().as_ref() == PROPERTY.as_bytes() => {
                json = Some(String::new());
            }
            (Event::Start(start) | Event::Empty(start), None) => {
                for attribute in start.attributes().filter_map(Result::ok) {
                    let (namespace, name) = reader.resolver().resolve_attribute(attribute.key);
                    if self::is_ours(&namespace) && name.as_ref() == PROPERTY.as_bytes() {
                        return Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned());
                    }
                }
            }
            (Event::Text(part), Some(json)) => json.push_str(&part.decode().ok()?),
            (Event::CData(part), Some(json)) => json.push_str(&part.decode().ok()?),
            (Event::GeneralRef(reference), Some(json)) => {
                json.push(match reference.resolve_char_ref().ok()? {
                    Some(letter) => letter,
                    None => match &reference.decode().ok()?[..] {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return None,
                    },
                });
            }
            (Event::End(_), Some(_)) => return json,
            (Event::Eof, _) => return None,
            _ => {}
        }
    }
}

fn is_ours(namespace: &ResolveResult<'_>) -> bool {
    matches!(namespace, Bound(bound) if bound.as_ref() == NAMESPACE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_again() {
        let json = "{\"prompt\":\"a <b> & 'c' \\\"d\\\" ü 狐 \\n\"}";
        assert_eq!(read(write(json).as_bytes()).as_deref(), Some(json));
        assert_eq!(read(write("\u{ffff}").as_bytes()).as_deref(), Some("\\uffff"));
    }

    #[test]
    fn other_programs_may_write_it_otherwise() {
        let attribute = "<r:RDF xmlns:r=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><r:Description \
                         xmlns:g=\"urn:glimpse:recipe:1#\" g:recipe=\"{&quot;a&quot;:1}\"/></r:RDF>";
        assert_eq!(read(attribute.as_bytes()).as_deref(), Some("{\"a\":1}"));
        let cdata = "<d xmlns:g=\"urn:glimpse:recipe:1#\"><g:recipe><![CDATA[{\"a\":\"<\"}]]>&#32;&quot;</g:recipe></d>";
        assert_eq!(read(cdata.as_bytes()).as_deref(), Some("{\"a\":\"<\"} \""));
        for none in ["", "<a>", "<a/>", "<recipe>{}</recipe>", "<x:recipe xmlns:x=\"other#\">{}</x:recipe>"] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
        assert_eq!(read(b"\xff\xfe"), None);
    }
}
