//! An input picture as it was sent: its bytes, and the size and format in its header.

use std::{fmt, io::Cursor};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    metadata::Orientation::{NoTransforms, Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use super::{
    data_uri::{self, NoBytes},
    gif, jpeg, kind, png, webp,
};

/// The largest file of a picture, in bytes.
pub const MAX_INPUT_IMAGE_BYTES: usize = 12 << 20;

const MAX_INPUT_SIDE: u32 = 8192;
const MAX_INPUT_PIXELS: u64 = 16_777_216;
/// The memory limit of the decoder in bytes: twice the largest picture with four 16-bit channels.
const MAX_DECODER_MEMORY: u64 = 2 * 8 * MAX_INPUT_PIXELS;

/// The format of an input picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputFormat {
    /// `image/jpeg`.
    Jpeg,
    /// `image/png`.
    Png,
    /// `image/webp`.
    Webp,
}

impl InputFormat {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::WebP => Some(Self::Webp),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
        }
    }

    fn to_image(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Webp => ImageFormat::WebP,
        }
    }
}

/// An input picture: a file of a known format whose header is within the limits. The picture of a checked request has
/// been decoded once, so [`InputImage::decode`] finds no new error.
#[derive(Clone, PartialEq)]
pub struct InputImage {
    format: InputFormat,
    width: u32,
    height: u32,
    bytes: Bytes,
}

/// Why a text or a file is not a usable picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputImageError {
    /// Not a data URI, or one without base64 whose text is not a picture either.
    #[error("Input should be a data URI: data:image/png;base64, and then the picture in base64")]
    Uri,
    /// Its base64 is invalid.
    #[error("What follows the comma of the data URI is not base64")]
    Base64,
    /// A file that is too large.
    #[error("A picture should have at most {MAX_INPUT_IMAGE_BYTES} bytes")]
    TooManyBytes,
    /// A file of a format that is not supported.
    #[error("The bytes are {}: input should be a PNG, JPEG, WebP or GIF picture", .found.unwrap_or("of an unknown format"))]
    Format {
        /// The format of the bytes, if it is known.
        found: Option<&'static str>,
    },
    /// A rare kind of a supported format that cannot be read.
    #[error("This kind of {} cannot be read: save the picture as an ordinary PNG, JPEG or WebP", .0.name())]
    Unsupported(InputFormat),
    /// Too many pixels.
    #[error(
        "A picture should have sides of 1 to {MAX_INPUT_SIDE} pixels and at most {MAX_INPUT_PIXELS} pixels"
    )]
    TooLarge,
    /// A truncated or damaged file.
    #[error("The picture is truncated or damaged and cannot be decoded")]
    Broken,
}

impl InputImageError {
    /// The machine-readable kind of error, in fal's words.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Uri | Self::Base64 | Self::Broken => "image_load_error",
            Self::TooManyBytes => "file_too_large",
            Self::Format { .. } | Self::Unsupported(_) => "unsupported_image_format",
            Self::TooLarge => "image_too_large",
        }
    }

    /// The limit that was exceeded.
    pub fn ctx(self) -> Option<Value> {
        match self {
            Self::TooManyBytes => Some(json!({ "max_size": MAX_INPUT_IMAGE_BYTES })),
            Self::Format { .. } | Self::Unsupported(_) => {
                Some(json!({ "supported_formats": ["png", "jpeg", "webp", "gif"] }))
            }
            Self::TooLarge => Some(
                json!({ "max_width": MAX_INPUT_SIDE, "max_height": MAX_INPUT_SIDE, "max_pixels": MAX_INPUT_PIXELS }),
            ),
            Self::Uri | Self::Base64 | Self::Broken => None,
        }
    }
}

impl InputImage {
    /// Takes a picture's file. Reads its header and checks that the file is complete, without decoding it. A JPEG or
    /// PNG that lacks only its end gets one. A GIF becomes a PNG of its first frame: it is decoded, which is slow.
    ///
    /// # Errors
    /// If the format is unknown, the file is too large, its header is damaged, or a JPEG is truncated.
    pub fn new(bytes: Bytes) -> Result<Self, InputImageError> {
        if bytes.len() > MAX_INPUT_IMAGE_BYTES {
            return Err(InputImageError::TooManyBytes);
        }
        if image::guess_format(&bytes).is_ok_and(|format| format == ImageFormat::Gif) {
            let (width, height) = gif::canvas(&bytes).ok_or(InputImageError::Broken)?;
            check_size(width, height)?;
            let png = gif::to_png(&bytes, limits()).map_err(|_| InputImageError::Broken)?;
            return Self::new(png.into());
        }
        let format = InputFormat::of_bytes(&bytes)
            .ok_or_else(|| InputImageError::Format { found: kind::of(&bytes) })?;
        let mut decoder = decoder(bytes.clone(), format).map_err(|error| match (error, format) {
            // The decoder reports this as damage.
            (InputImageError::Broken, InputFormat::Jpeg) if jpeg::is_rare(&bytes) => {
                InputImageError::Unsupported(format)
            }
            _ => error,
        })?;
        let (width, height) = decoder.dimensions();
        check_size(width, height)?;
        // Checked first, because the decoder allocates memory by the sizes in the chunk headers.
        if format == InputFormat::Webp && !webp::is_consistent(&bytes) {
            return Err(InputImageError::Broken);
        }
        let is_turned = matches!(
            decoder.orientation().unwrap_or(NoTransforms),
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
        );
        drop(decoder);
        let bytes = match format {
            InputFormat::Jpeg => jpeg::whole(bytes, [width, height].map(|side| side as usize)),
            InputFormat::Png => Some(png::whole(bytes)),
            InputFormat::Webp => Some(bytes),
        };
        // The added end marker may make the file too large.
        let bytes =
            bytes.filter(|bytes| bytes.len() <= MAX_INPUT_IMAGE_BYTES).ok_or(InputImageError::Broken)?;
        let (width, height) = if is_turned { (height, width) } else { (width, height) };
        Ok(Self { format, width, height, bytes })
    }

    /// A picture in a data URI, without decoding it. The URI's media type does not matter.
    ///
    /// # Errors
    /// As [`InputImage::new`], and if the text is not a data URI.
    pub fn from_data_uri(uri: &str) -> Result<Self, InputImageError> {
        let content = data_uri::content(uri, MAX_INPUT_IMAGE_BYTES).map_err(|error| match error {
            NoBytes::NoUri => InputImageError::Uri,
            NoBytes::NoBase64 => InputImageError::Base64,
            NoBytes::TooMany => InputImageError::TooManyBytes,
        })?;
        match Self::new(content.bytes.into()) {
            // The base64 of a picture without `;base64` in the URI.
            Err(InputImageError::Format { .. }) if !content.was_base64 => Err(InputImageError::Uri),
            read => read,
        }
    }

    /// The picture as a data URI.
    pub fn to_data_uri(&self) -> String {
        let header = format!("data:{};base64,", self.format.content_type());
        let mut uri = String::with_capacity(header.len() + self.bytes.len().div_ceil(3) * 4);
        uri.push_str(&header);
        STANDARD.encode_string(&self.bytes, &mut uri);
        uri
    }

    /// Decodes the picture and applies its Exif orientation. This is slow: do not call it on async threads.
    ///
    /// # Errors
    /// If the file is truncated or damaged.
    pub fn decode(&self) -> Result<DynamicImage, InputImageError> {
        let mut decoder = decoder(self.bytes.clone(), self.format)?;
        let orientation = decoder.orientation().unwrap_or(NoTransforms);
        let mut image =
            DynamicImage::from_decoder(decoder).map_err(|error| of_decoder(&error, self.format))?;
        image.apply_orientation(orientation);
        Ok(image)
    }

    /// Its format.
    pub fn format(&self) -> InputFormat {
        self.format
    }

    /// The file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Width in pixels after the Exif orientation: 1 to 8192.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels after the Exif orientation: 1 to 8192.
    pub fn height(&self) -> u32 {
        self.height
    }
}

fn check_size(width: u32, height: u32) -> Result<(), InputImageError> {
    let sides = 1..=MAX_INPUT_SIDE;
    let pixels = u64::from(width) * u64::from(height);
    let fits = sides.contains(&width) && sides.contains(&height) && pixels <= MAX_INPUT_PIXELS;
    if fits { Ok(()) } else { Err(InputImageError::TooLarge) }
}

/// Of the decoders.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_INPUT_SIDE);
    limits.max_image_height = Some(MAX_INPUT_SIDE);
    limits.max_alloc = Some(MAX_DECODER_MEMORY);
    limits
}

pub(super) fn decoder(bytes: Bytes, format: InputFormat) -> Result<impl ImageDecoder, InputImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.to_image());
    reader.limits(limits());
    reader.into_decoder().map_err(|error| of_decoder(&error, format))
}

pub(super) fn of_decoder(error: &ImageError, format: InputFormat) -> InputImageError {
    match error {
        ImageError::Unsupported(_) => InputImageError::Unsupported(format),
        ImageError::Limits(_) => InputImageError::TooLarge,
        _ => InputImageError::Broken,
    }
}

impl fmt::Debug for InputImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputImage")
            .field("format", &self.format)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl Serialize for InputImage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_data_uri())
    }
}

impl<'de> Deserialize<'de> for InputImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let uri = String::deserialize(deserializer)?;
        Self::from_data_uri(&uri).map_err(de::Error::custom)
    }
}
