//! Whether the document is the one in `docs/`, and whether it has every route.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{body::Body, http::Request};
use glimpse_shared::store::{Clock, Rules, memory::MemoryStore};
use serde_json::Value;
use tower::ServiceExt;

use super::document;
use crate::{config::Config, routes, state::Shared};

/// The server in the file: the default of `--listen`.
const SERVER: &str = "http://127.0.0.1:8080";

/// What is in the file: the document, indented.
fn text() -> String {
    document(SERVER).to_pretty_json().unwrap() + "\n"
}

fn json() -> Value {
    serde_json::from_str(&text()).unwrap()
}

#[test]
fn the_file_is_the_document() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("GLIMPSE_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, text()).unwrap();
    }
    let advice = "docs/openapi.json is old: GLIMPSE_WRITE_OPENAPI=1 cargo test -p glimpse-api --lib openapi";
    assert!(std::fs::read_to_string(&file).unwrap_or_default() == text(), "{advice}");
}

fn api() -> crate::state::Api {
    let store = MemoryStore::new(Rules::default(), Clock::Store);
    Shared::new(Arc::new(store), Config::default(), None, SocketAddr::from(([127, 0, 0, 1], 8080)), None)
}

/// The paths of the router, as its `Debug` form lists them: axum has no other list of them.
fn routed() -> BTreeSet<String> {
    let shown = format!("{:?}", routes::every(&api()));
    let mut paths = BTreeSet::new();
    for entry in shown.split("RouteId(").skip(1) {
        if let Some((_, path)) = entry.split_once("): \"") {
            let (path, _) = path.split_once('"').unwrap();
            // axum keeps the fallback as a route, and some routes only say 404 in OpenAI's form.
            if !path.starts_with("/{*__private__") && !routes::openai::is_elsewhere(path) {
                paths.insert(path.replace("{*", "{"));
            }
        }
    }
    paths
}

#[test]
fn every_route_is_described_and_the_reverse() {
    let document = json();
    let described: BTreeSet<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let routed = routed();
    assert!(routed.len() > 20, "axum's Debug form lists the paths of a router: {routed:?}");
    assert_eq!(described, routed);
}

/// The methods are those that the router allows: HEAD goes with GET.
#[tokio::test]
async fn every_method_is_described_and_the_reverse() {
    let document = json();
    let router = routes::router(api());
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut described: BTreeSet<_> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let path = path.replace(['{', '}'], "");
        // No route has this method.
        let request = Request::builder().method("PURGE").uri(&path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().split(',').map(str::to_owned).collect();
        assert_eq!(described, allowed, "{path}");
    }
}

/// Every object in the document, with its place.
fn objects(value: &Value, at: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            found.push((at.clone(), value.clone()));
            for (name, member) in members {
                objects(member, format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = json();
    let mut found = Vec::new();
    objects(&document, String::new(), &mut found);
    let references: Vec<_> = found.iter().filter_map(|(_, object)| object.get("$ref")?.as_str()).collect();
    assert!(references.len() > 50);
    for reference in references {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_has_a_summary_a_name_of_its_own_and_a_tag() {
    let document = json();
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}");
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            assert!(tags.contains(operation["tags"][0].as_str().unwrap()), "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            let is_good = |status: &String| status.starts_with('2') || status == "101";
            assert!(answers.keys().any(is_good), "{method} {path}");
            for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(
                    parameters.iter().any(|known| known["name"] == parameter),
                    "{method} {path}: {parameter}"
                );
            }
        }
    }
}

#[test]
fn the_body_of_a_submit_is_one_flat_object() {
    let document = json();
    let body = &document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let schema = document.pointer(body["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
    assert_eq!(
        (&schema["type"], &schema["additionalProperties"]),
        (&Value::from("object"), &Value::from(false))
    );
    for joined in ["allOf", "anyOf", "oneOf"] {
        assert!(schema.get(joined).is_none(), "{joined}");
    }
}

#[test]
fn every_body_and_answer_has_a_schema() {
    let document = json();
    let mut found = Vec::new();
    objects(&document["paths"], String::new(), &mut found);
    let contents: Vec<_> = found.iter().filter(|(at, _)| at.ends_with("/content")).collect();
    assert!(contents.len() > 100);
    for (at, content) in contents {
        for (media_type, described) in content.as_object().unwrap() {
            // A body of bytes alone has none.
            let is_picture = at.ends_with("/requestBody/content") && media_type.starts_with("image/");
            assert_eq!(described["schema"].is_object(), !is_picture, "{at}: {media_type}");
        }
    }
}

/// Whether a schema has bounds: see [`every_field_of_a_body_has_its_bounds`].
fn bounded(schema: &Value) -> bool {
    let is = |word: &str| match &schema["type"] {
        Value::Array(types) => types.iter().any(|one| one == word),
        one => one == word,
    };
    let has = |keyword: &str| schema.get(keyword).is_some();
    let least = has("minimum") || has("exclusiveMinimum");
    match () {
        () if has("enum") || has("$ref") || has("pattern") || is("boolean") => true,
        () if has("anyOf") => schema["anyOf"].as_array().unwrap().iter().all(bounded),
        () if is("integer") || is("number") => least && has("maximum"),
        () if is("string") => has("maxLength"),
        () if is("array") => has("maxItems") && has("items"),
        () => false,
    }
}

/// Numbers have both bounds, texts a longest length or a form, lists a longest length. The fields that nothing implements have no
/// type, and the values of booleans and of enums are bounds.
#[test]
fn every_field_of_a_body_has_its_bounds() {
    let document = json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut read = 0;
    for (name, schema) in
        schemas.iter().filter(|(name, _)| name.ends_with("Request") || name.starts_with("Lora"))
    {
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What is answered about requests has other rules.
            let is_body = !matches!(&name[..], "SubmittedRequest" | "CancelledRequest");
            assert!(bounded(schema) || !is_body, "{name} {field}: {schema}");
            read += 1;
        }
    }
    assert!(read > 60);
}

#[test]
fn only_fals_bodies_have_fals_members() {
    let document = json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (body, ours) in
        [("JobRequest", true), ("OpenAiRequest", true), ("OpenAiEditRequest", true), ("FalRequest", false)]
    {
        for (field, member) in [("controlnets", "image_url"), ("embeddings", "tokens")] {
            let items = &schemas[body]["properties"][field]["items"]["$ref"];
            let name = items.as_str().unwrap().rsplit('/').next().unwrap();
            assert_eq!(schemas[name]["properties"].get(member).is_none(), ours, "{body} {field}: {name}");
        }
    }
}
