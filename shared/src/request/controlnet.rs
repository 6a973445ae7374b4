//! The ControlNets of a request: their names, pictures, scales and windows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    canny::Canny,
    dialect::{Names, Unknown},
    fields::{Fields, Least},
    input_image::InputImage,
    lora_path::{LoraPath, LoraSource, NoLoraPath, hub_id},
    offer::Offer,
    pictures::{Fetched, IMAGE},
};

/// The most ControlNets of a request.
pub const MAX_CONTROLNETS: usize = 3;
/// The largest scale of a ControlNet.
pub const MAX_CONTROLNET_SCALE: f64 = 2.0;

/// The last kind of picture of a ControlNet of several.
pub const MAX_CONTROLNET_MODE: u64 = 63;

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

/// A ControlNet with its picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlNet {
    path: LoraPath,
    image: InputImage,
    scale: f64,
    start: f64,
    end: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canny: Option<Canny>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
}

impl ControlNet {
    /// Where it is: as for a LoRA, but a folder or a file, and in another folder.
    pub fn path(&self) -> &LoraPath {
        &self.path
    }

    /// The feature of a worker that can load it.
    pub fn feature(&self) -> &'static str {
        self.path.source().map_or(CONTROLNETS, LoraSource::feature_of_controlnets)
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

    /// The kind of the picture, for a ControlNet of several: below 64.
    pub fn mode(&self) -> Option<u32> {
        self.mode
    }

    /// How the edges of the picture are found, if these are its picture.
    pub fn canny(&self) -> Option<Canny> {
        self.canny
    }
}

/// The feature of a worker with a folder of ControlNets.
pub const CONTROLNETS: &str = "controlnets";

impl LoraSource {
    /// The word among the features of a worker that loads ControlNets from there.
    pub fn feature_of_controlnets(self) -> &'static str {
        match self {
            Self::Hub => "controlnet_hub",
            Self::Urls => "controlnet_urls",
        }
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
        offer: &Offer,
        unknown: Unknown,
        names: Names,
        fetched: &Fetched,
    ) -> Vec<ControlNet> {
        self.list("controlnets", MAX_CONTROLNETS, unknown, |fields| fields.controlnet(offer, names, fetched))
    }

    /// Reads one of them.
    fn controlnet(&mut self, offer: &Offer, names: Names, fetched: &Fetched) -> Option<ControlNet> {
        if names.are_fal() {
            self.refuse_not_implemented(&NOT_IMPLEMENTED);
        }
        let path = self.controlnet_path(offer);
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
        let mode = self.integer("mode", 0, MAX_CONTROLNET_MODE).map(|mode| mode as u32);
        let (from, to) = (start.map_or(0.0, |(_, share)| share), end.map_or(1.0, |(_, share)| share));
        if from >= to {
            // The field that was given.
            let field = end.or(start).map_or(END.0, |(field, _)| field);
            self.wrong(field, "empty_window", "The start should be below the end", &json!([from, to]));
        }
        Some(ControlNet { path: path?, image: image?, scale, start: from, end: to, canny, mode })
    }

    /// Where one is. `OWNER/NAME` is also a name on the Hub, if a worker loads ControlNets from there: such a worker
    /// looks into its folder first.
    fn controlnet_path(&mut self, offer: &Offer) -> Option<LoraPath> {
        let field = "path";
        let errors = self.errors.len();
        let text = self.required_text(field, 1, usize::MAX);
        if self.errors.len() > errors {
            return None;
        }
        let input = Value::from(&text[..]);
        let on_hub = hub_id(&text).filter(|_| offer.controlnet_hub);
        let path = LoraPath::try_from(on_hub.unwrap_or(text));
        path.map_err(|error| {
            let msg = match error {
                NoLoraPath::File => {
                    "Input should name a folder or a file under the workers' folder of ControlNets, by the same rules \
                     as a LoRA. Or it should be OWNER/NAME on the Hugging Face Hub, an http or https URL, or \
                     hf://OWNER/NAME[@REVISION][/FILE.safetensors]"
                        .to_owned()
                }
                NoLoraPath::Hub | NoLoraPath::Url => error.to_string(),
            };
            self.wrong(field, "controlnet_name", msg, &input);
        })
        .ok()
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
