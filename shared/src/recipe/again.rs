//! What it takes to make a picture again: the request to send, and what it lacks.

use serde_json::{Map, Value};

use super::form::Recipe;

/// An input picture that a recipe names by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededPicture {
    /// The field of the request: `image`, `mask` or `controlnets[0].image`.
    pub field: String,
    /// SHA-256 (hex) of its file.
    pub sha256: String,
}

impl Recipe {
    /// The request that makes the pictures of this recipe again, without the input pictures, and which these are.
    pub fn again(&self) -> (Map<String, Value>, Vec<NeededPicture>) {
        let (mut request, mut needed) = (self.request.clone(), Vec::new());
        for field in ["image", "mask"] {
            take_picture(&mut request, field, field.to_owned(), &mut needed);
        }
        let nets = request.get_mut("controlnets").and_then(Value::as_array_mut).into_iter().flatten();
        for (index, net) in nets.enumerate() {
            if let Value::Object(net) = net {
                take_picture(net, "image", format!("controlnets[{index}].image"), &mut needed);
            }
        }
        if let Some(step) = self.finished_at_step {
            request.insert("finish_at_step".to_owned(), step.into());
        }
        (request, needed)
    }
}

/// Takes a picture that is named by its digest out of an object.
fn take_picture(
    members: &mut Map<String, Value>,
    member: &str,
    field: String,
    needed: &mut Vec<NeededPicture>,
) {
    let Some(Value::Object(picture)) = members.get(member) else { return };
    let sha256 = picture.get("sha256").and_then(Value::as_str).unwrap_or_default().to_owned();
    members.remove(member);
    needed.push(NeededPicture { field, sha256 });
}
