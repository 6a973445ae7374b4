//! Pictures in data URIs. The media type is ignored; the bytes decide.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_shared::request::{ImageSpec, InputFormat, InputImage, InputImageError, Names};
use image::ImageFormat;
use serde_json::{Value, json};

use crate::support::{FORMATS, check, file, uri, wrong};

fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// A picture whose base64 has padding and both characters that differ in the URL-safe alphabet.
fn png() -> (Vec<u8>, String) {
    let files = (64..100).map(|height| file(64, height, ImageFormat::Png));
    let mut written = files.map(|file| (STANDARD.encode(&file), file));
    let (data, file) = written
        .find(|(data, _)| data.ends_with('=') && data.contains('+') && data.contains('/'))
        .expect("a picture with such base64");
    (file, data)
}

#[test]
fn the_bytes_decide_the_format() {
    for (format, name) in FORMATS {
        let file = file(72, 64, format);
        let data = STANDARD.encode(&file);
        for head in [
            "data:image/png;base64",
            "data:image/jpeg;base64",
            "data:image/jpg;base64",
            "data:image/pjpeg;base64",
            "data:image/x-png;base64",
            "data:image/webp;base64",
            "data:image/gif;base64",
            "data:image/svg+xml;base64",
            "data:image/*;base64",
            "data:application/octet-stream;base64",
            "data:binary/octet-stream;base64",
            "data:text/plain;base64",
            "data:;base64",
            "data:base64",
            "data:null;base64",
            "data:undefined;base64",
            "data:IMAGE;base64",
            "DATA:IMAGE/PNG;BASE64",
            "data:image/png;charset=utf-8;base64",
            "data:image/png;name=a.jpeg;x;base64",
            "data:image/png;name=\"a b.png\";base64",
            "data:image/png; base64",
            " data:image/png;base64 ",
            "\n\tdata:image/png;base64",
        ] {
            let body = json!({ "prompt": "x", "image": format!("{head},{data}") });
            let spec = check(body).unwrap_or_else(|errors| panic!("{name} as {head}: {errors:?}"));
            let image = spec.image().unwrap();
            assert_eq!(
                (image.format().content_type(), &image.bytes()[..]),
                (&*format!("image/{name}"), &file[..])
            );
            // The stored data URI has the right media type, so that every release can read it.
            let stored = serde_json::to_value(&spec).unwrap();
            assert_eq!(stored["original"]["image"], Value::from(uri(name, &file)), "{head}");
            assert_eq!(serde_json::from_value::<ImageSpec>(stored).unwrap(), spec);
        }
    }
}

#[test]
fn base64_is_read_as_clients_write_it() {
    let (file, data) = png();
    let unpadded = data.trim_end_matches('=');
    let lines = |ending: &str| {
        let lines: Vec<_> = data.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect();
        lines.join(ending)
    };
    let for_urls = data.replace('+', "-").replace('/', "_");
    for (what, data) in [
        ("no padding", unpadded.to_owned()),
        ("half escaped padding", data.replace('=', "%3D")),
        ("escaped", data.replace('+', "%2B").replace('/', "%2F").replace('=', "%3d")),
        ("escaped as a whole", percent(data.as_bytes())),
        ("lines", lines("\n")),
        ("lines of mail", lines("\r\n")),
        ("old lines", lines("\r")),
        ("indented lines", lines("\n\t  ")),
        ("escaped lines", lines("%0A")),
        ("escaped lines of mail", lines("%0d%0a")),
        ("spaces", lines(" ")),
        ("escaped spaces", lines("%20")),
        ("an end of line", format!("{data}\r\n")),
        ("a space before", format!(" {data}  ")),
        ("the alphabet for URLs", for_urls.clone()),
        ("the same without padding", for_urls.trim_end_matches('=').to_owned()),
        ("the same escaped", for_urls.replace('-', "%2D").replace('_', "%5f")),
        ("the same in lines", for_urls.replacen('_', "_\n", 3)),
    ] {
        let image = InputImage::from_data_uri(&format!("data:image/png;base64,{data}"));
        let image = image.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((image.format(), &image.bytes()[..]), (InputFormat::Png, &file[..]), "{what}");
    }
    for (what, data) in [
        ("another character", format!("{data}!")),
        ("a character that is none", format!("{}\u{e9}{}", &data[..8], &data[8..])),
        ("a fragment", format!("{}#{}", &data[..8], &data[8..])),
        ("an escaped fragment", format!("{}%23{}", &data[..8], &data[8..])),
        ("much padding", format!("{data}==")),
        ("padding within", format!("{}=={}", &data[..8], &data[8..])),
        ("one character", "A".to_owned()),
        ("padding alone", "=".to_owned()),
        ("half an escape", format!("{unpadded}%3")),
    ] {
        let found = InputImage::from_data_uri(&format!("data:image/png;base64,{data}"));
        assert_eq!(found, Err(InputImageError::Base64), "{what}");
    }
}

#[test]
fn a_picture_may_be_percent_encoded_without_base64() {
    for (format, name) in FORMATS {
        let file = file(64, 64, format);
        for head in [format!("data:image/{name}"), "data:".to_owned(), "data:;charset=utf-8".to_owned()] {
            let image = InputImage::from_data_uri(&format!("{head},{}", percent(&file))).unwrap();
            assert_eq!(&image.bytes()[..], &file[..], "{head}");
        }
    }
}

#[test]
fn a_text_that_is_not_a_data_uri_is_rejected() {
    let (file, data) = png();
    for text in [
        String::new(),
        "data:".to_owned(),
        "data:image/png;base64".to_owned(),
        data.clone(),
        format!("image/png;base64,{data}"),
        format!("base64,{data}"),
        // Without `;base64`.
        format!("data:image/png,{data}"),
        format!("data:image/png;base64;x,{data}"),
        format!("data:image/png;base64{},{data}", " ".repeat(2000)),
        format!("data:image/png;base64#,{data}"),
        format!("blob:image/png,{}", percent(&file)),
        "file:///etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "ftp://example.com/a.png".to_owned(),
    ] {
        assert_eq!(InputImage::from_data_uri(&text), Err(InputImageError::Uri), "{text:.40}");
    }
}

#[test]
fn a_file_that_is_not_a_picture_is_named() {
    let ftyp = |brand: &[u8; 4]| [b"\0\0\0\x18ftyp", &brand[..], b"\0\0\0\0mif1", brand].concat();
    for (bytes, found) in [
        (b"".to_vec(), "missing"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec(), "image/bmp"),
        (b"II*\0\x08\0\0\0\0\0\0\0".to_vec(), "image/tiff"),
        (ftyp(b"avif"), "image/avif"),
        (ftyp(b"heic"), "image/heif"),
        (b"\xff\x0a\xff\x07\x10\0".to_vec(), "image/jxl"),
        (b"%PDF-1.7\n".to_vec(), "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), "image/svg+xml"),
        (b"<?xml version='1.0'?>\n<!-- a drawing -->\n<svg/>".to_vec(), "image/svg+xml"),
        (b"<!DOCTYPE html><title>404</title>".to_vec(), "text"),
        (b"not found".to_vec(), "text"),
        (b"\xfe\x01\x02\x03\x04\x05".to_vec(), "of an unknown format"),
    ] {
        for head in ["data:image/png;base64", "data:;base64"] {
            let image = format!("{head},{}", STANDARD.encode(&bytes));
            let errors = check(json!({ "prompt": "x", "image": image })).unwrap_err();
            assert_eq!((errors[0].field(), errors[0].kind), ("image".to_owned(), "unsupported_image_format"));
            let msg = format!("The bytes are {found}: input should be a PNG, JPEG, WebP or GIF picture");
            assert_eq!(errors[0].msg, msg);
            assert_eq!(errors[0].ctx, Some(json!({ "supported_formats": ["png", "jpeg", "webp", "gif"] })));
        }
    }
    for bytes in [&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"RIFF\x04\0\0\0WEBP"] {
        let body = json!({ "prompt": "x", "image": uri("png", bytes) });
        assert_eq!(wrong(body, Names::Own), [("image".to_owned(), "image_load_error")], "{bytes:?}");
    }
}
