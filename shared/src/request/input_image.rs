//! A picture to begin from, as it came: its bytes, and what its header says about them.

use std::{fmt, io::Cursor};

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    metadata::Orientation::{NoTransforms, Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use super::{jpeg, webp};

/// The most bytes of a picture's file.
pub const MAX_INPUT_IMAGE_BYTES: usize = 12 << 20;

const MAX_SIDE: u32 = 8192;
const MAX_PIXELS: u64 = 16_777_216;
/// What decoding may take: the most pixels of four channels of 16 bits, and as much again to work with.
const MAX_MEMORY: u64 = 2 * 8 * MAX_PIXELS;

/// The standard alphabet alone, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a picture to begin from is encoded.
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

    fn of_content_type(name: &str) -> Option<Self> {
        [Self::Jpeg, Self::Png, Self::Webp]
            .into_iter()
            .find(|it| it.content_type().eq_ignore_ascii_case(name))
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::WebP => Some(Self::Webp),
            _ => None,
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

/// A picture to begin from: a file of a known format whose header is in its bounds. A request's has been decoded
/// once where it was checked, so that [`InputImage::decode`] finds nothing new.
#[derive(Clone, PartialEq)]
pub struct InputImage {
    format: InputFormat,
    width: u32,
    height: u32,
    bytes: Bytes,
}

/// Why a text or a file is no picture to begin from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputImageError {
    /// No data URI, or one of something else.
    #[error(
        "Input should be a data URI: data:image/png, image/jpeg or image/webp, then ;base64, and the picture"
    )]
    Uri,
    /// What follows the header is not base64.
    #[error("The data URI is not in base64 of the standard alphabet")]
    Base64,
    /// A file that is too large.
    #[error("A picture should have at most {MAX_INPUT_IMAGE_BYTES} bytes")]
    TooManyBytes,
    /// A file of no format that is known.
    #[error("The bytes are no PNG, JPEG or WebP picture")]
    Format,
    /// A header that says one format, and bytes that have another.
    #[error("The data URI says {}, the bytes are {}", .said.content_type(), .found.content_type())]
    OtherFormat {
        /// By the header.
        said: InputFormat,
        /// By the bytes.
        found: InputFormat,
    },
    /// Too many pixels.
    #[error("A picture should have sides of 1 to {MAX_SIDE} pixels and at most {MAX_PIXELS} pixels")]
    TooLarge,
    /// A file that is cut or damaged.
    #[error("The picture is cut or damaged: it cannot be decoded")]
    Broken,
}

impl InputImageError {
    /// What is wrong, for programs: fal's words.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Uri | Self::Base64 | Self::OtherFormat { .. } | Self::Broken => "image_load_error",
            Self::TooManyBytes => "file_too_large",
            Self::Format => "unsupported_image_format",
            Self::TooLarge => "image_too_large",
        }
    }

    /// The bound that was crossed.
    pub fn ctx(self) -> Option<Value> {
        match self {
            Self::TooManyBytes => Some(json!({ "max_size": MAX_INPUT_IMAGE_BYTES })),
            Self::Format => Some(json!({ "supported_formats": ["png", "jpeg", "webp"] })),
            Self::TooLarge => {
                Some(json!({ "max_width": MAX_SIDE, "max_height": MAX_SIDE, "max_pixels": MAX_PIXELS }))
            }
            Self::Uri | Self::Base64 | Self::OtherFormat { .. } | Self::Broken => None,
        }
    }
}

impl InputImage {
    /// A picture's file. Reads its header alone: nothing is decoded.
    ///
    /// # Errors
    /// For a file of an unknown format, one that is too large, and one whose header is damaged.
    pub fn new(bytes: Bytes) -> Result<Self, InputImageError> {
        if bytes.len() > MAX_INPUT_IMAGE_BYTES {
            return Err(InputImageError::TooManyBytes);
        }
        let format = InputFormat::of_bytes(&bytes).ok_or(InputImageError::Format)?;
        let mut decoder = decoder(bytes.clone(), format)?;
        let (width, height) = decoder.dimensions();
        let sides = 1..=MAX_SIDE;
        let pixels = u64::from(width) * u64::from(height);
        if !sides.contains(&width) || !sides.contains(&height) || pixels > MAX_PIXELS {
            return Err(InputImageError::TooLarge);
        }
        if format == InputFormat::Webp && !webp::is_honest(&bytes) {
            return Err(InputImageError::Broken);
        }
        let lying = matches!(
            decoder.orientation().unwrap_or(NoTransforms),
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
        );
        let (width, height) = if lying { (height, width) } else { (width, height) };
        Ok(Self { format, width, height, bytes })
    }

    /// A picture in a data URI, without decoding it.
    ///
    /// # Errors
    /// As [`InputImage::new`], and for a text that is no data URI of the format that its bytes have.
    pub fn from_data_uri(uri: &str) -> Result<Self, InputImageError> {
        let (header, data) = uri.split_once(',').ok_or(InputImageError::Uri)?;
        let mut parts = header.split(';');
        let said = parts.next().and_then(|first| {
            let (scheme, media_type) = first.split_once(':')?;
            scheme.eq_ignore_ascii_case("data").then(|| InputFormat::of_content_type(media_type))?
        });
        let said = said.ok_or(InputImageError::Uri)?;
        // Other parameters may stand before the last one.
        if !parts.next_back().is_some_and(|last| last.eq_ignore_ascii_case("base64")) {
            return Err(InputImageError::Uri);
        }
        if data.len() / 4 > MAX_INPUT_IMAGE_BYTES / 3 + 1 {
            return Err(InputImageError::TooManyBytes);
        }
        let bytes = BASE64.decode(data).map_err(|_| InputImageError::Base64)?;
        let image = Self::new(bytes.into())?;
        let found = image.format;
        if found == said { Ok(image) } else { Err(InputImageError::OtherFormat { said, found }) }
    }

    /// The picture as a data URI.
    pub fn to_data_uri(&self) -> String {
        let header = format!("data:{};base64,", self.format.content_type());
        let mut uri = String::with_capacity(header.len() + self.bytes.len().div_ceil(3) * 4);
        uri.push_str(&header);
        STANDARD.encode_string(&self.bytes, &mut uri);
        uri
    }

    /// Decodes the picture and stands it upright, as its Exif tells. Takes its time: not for async threads.
    ///
    /// # Errors
    /// For a file that is cut or damaged.
    pub fn decode(&self) -> Result<DynamicImage, InputImageError> {
        // The decoder fills up what is missing of a JPEG.
        if self.format == InputFormat::Jpeg && !jpeg::is_whole(&self.bytes) {
            return Err(InputImageError::Broken);
        }
        let mut decoder = decoder(self.bytes.clone(), self.format)?;
        let orientation = decoder.orientation().unwrap_or(NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| of_decoder(&error))?;
        image.apply_orientation(orientation);
        Ok(image)
    }

    /// How it is encoded.
    pub fn format(&self) -> InputFormat {
        self.format
    }

    /// The file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Pixels across, once it stands upright: 1 to 8192.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down, once it stands upright: 1 to 8192.
    pub fn height(&self) -> u32 {
        self.height
    }
}

fn decoder(bytes: Bytes, format: InputFormat) -> Result<impl ImageDecoder, InputImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.to_image());
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| of_decoder(&error))
}

fn of_decoder(error: &ImageError) -> InputImageError {
    match error {
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
