//! The ControlNets of a request: their names, pictures, scales and windows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    canny::Canny,
    dialect::{Names, Unknown},
    fields::{Fields, Least},
    input_image::InputImage,
    lora_path::{LoraName, MAX_LORA_NAME_CHARS},
    pictures::{Fetched, IMAGE},
};

/// The most ControlNets of a request.
pub const MAX_CONTROLNETS: usize = 3;
/// The largest scale of a ControlNet.
pub const MAX_CONTROLNET_SCALE: f64 = 2.0;

/// fal's fields of a ControlNet that change the picture and that nothing here implements.
const NOT_IMPLEMENTED: [&str; 7] = [
    "mask_url",
    "mask_image_url",
    "control_image",
    "control_image_url",
    "control_mode",
    "guess_mode",
    "ip_adapter_index",
];

/// The name of a ControlNet in the workers' folder: a folder or a file. Its rules are those of the name of a LoRA's file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlNetName(LoraName);

impl ControlNetName {
    /// `None` if the text could name something outside of a folder.
    pub fn parse(name: String) -> Option<Self> {
        LoraName::parse(name).map(Self)
    }

    /// The name, relative to the folder.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for ControlNetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a name of a ControlNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "Input should name a folder or a file under the workers' ControlNet folder: at most {MAX_LORA_NAME_CHARS} \
     characters, parts divided by /, without empty parts, . and .., and without \\, :, control characters and a \
     leading ~. Names on the Hugging Face Hub and URLs are not loaded"
)]
pub struct NoControlNetName;

impl TryFrom<String> for ControlNetName {
    type Error = NoControlNetName;

    fn try_from(text: String) -> Result<Self, NoControlNetName> {
        Self::parse(text).ok_or(NoControlNetName)
    }
}

impl From<ControlNetName> for String {
    fn from(name: ControlNetName) -> Self {
        name.as_str().to_owned()
    }
}

/// A ControlNet with its picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlNet {
    path: ControlNetName,
    image: InputImage,
    scale: f64,
    start: f64,
    end: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canny: Option<Canny>,
}

impl ControlNet {
    /// Which one.
    pub fn path(&self) -> &ControlNetName {
        &self.path
    }

    /// Its picture, of any size.
    pub fn image(&self) -> &InputImage {
        &self.image
    }

    /// The factor of what it adds to the UNet: 0 to 2.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The share of the steps before it begins: 0 to 1.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// The share of the steps after which it has ended: above [`ControlNet::start`], at most 1.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// How the edges of the picture are found, if these are its picture.
    pub fn canny(&self) -> Option<Canny> {
        self.canny
    }
}

/// Fields and fal's names for them.
const SCALE: (&str, &str) = ("scale", "conditioning_scale");
const START: (&str, &str) = ("start", "start_percentage");
const END: (&str, &str) = ("end", "end_percentage");

impl Fields {
    /// Reads `controlnets`: returns the valid ones, and records the errors of the others.
    pub(super) fn controlnets(
        &mut self,
        unknown: Unknown,
        names: Names,
        fetched: &Fetched,
    ) -> Vec<ControlNet> {
        self.list("controlnets", MAX_CONTROLNETS, unknown, |fields| fields.controlnet(names, fetched))
    }

    /// Reads one of them.
    fn controlnet(&mut self, names: Names, fetched: &Fetched) -> Option<ControlNet> {
        if names.are_fal() {
            self.refuse_not_implemented(&NOT_IMPLEMENTED);
        }
        let path = self.controlnet_name();
        let image = match self.either(IMAGE, names) {
            Some(given) => self.picture(given, fetched, false).map(|(image, _)| image),
            None => {
                self.missing(if names.are_fal() { IMAGE.1 } else { IMAGE.0 });
                None
            }
        };
        let scale =
            self.share(SCALE, names, Least::From(0.0), MAX_CONTROLNET_SCALE).map_or(1.0, |(_, of)| of);
        let start = self.share(START, names, Least::From(0.0), 1.0);
        let end = self.share(END, names, Least::Above(0.0), 1.0);
        let canny = self.canny();
        let (from, to) = (start.map_or(0.0, |(_, share)| share), end.map_or(1.0, |(_, share)| share));
        if from >= to {
            // The field that was given.
            let field = end.or(start).map_or(END.0, |(field, _)| field);
            self.wrong(field, "empty_window", "The start should be below the end", &json!([from, to]));
        }
        Some(ControlNet { path: path?, image: image?, scale, start: from, end: to, canny })
    }

    fn controlnet_name(&mut self) -> Option<ControlNetName> {
        let field = "path";
        let errors = self.errors.len();
        let text = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&text[..]);
        match ControlNetName::try_from(text) {
            Ok(name) => Some(name),
            Err(error) => {
                self.wrong(field, "controlnet_name", error.to_string(), &input);
                None
            }
        }
    }

    /// A number by our name or by fal's, with the name that it has. If both are given, ours counts.
    fn share(
        &mut self,
        (own, fal): (&'static str, &'static str),
        names: Names,
        least: Least,
        most: f64,
    ) -> Option<(&'static str, f64)> {
        let fals = if names.are_fal() { self.take_beside(fal, &[own]) } else { None };
        let Some(fals) = fals else { return self.float(own, least, most).map(|number| (own, number)) };
        self.body.insert(fal.to_owned(), fals);
        self.float(fal, least, most).map(|number| (fal, number))
    }
}
