//! `/openapi.json` and `/docs`: what is served, and whether the bounds that the document gives are those of the checks.

use base64::{Engine, engine::general_purpose::STANDARD};
use glimpse_api::Config;
use serde_json::{Map, Value, json};

use crate::{
    pictures::png,
    support::{Answer, Stack},
};

fn file() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

#[tokio::test]
async fn the_document_is_the_file_for_the_server_that_the_client_reached() {
    let stack = Stack::start().await;
    let mut served = stack.get("/openapi.json").await.json();
    assert_eq!(served["servers"], json!([{ "url": "http://localhost" }]));
    let mut other = stack.client().await;
    let answer = other.ask("GET", "/openapi.json/", &[("host", "pictures.example:81")], b"").await;
    assert_eq!(answer.json()["servers"], json!([{ "url": "http://pictures.example:81" }]));
    let public_url = Some("https://pictures.example".parse().unwrap());
    let public = Stack::with(Config { public_url, ..Config::default() }).await;
    let answer = public.get("/openapi.json").await;
    assert_eq!(answer.json()["servers"], json!([{ "url": "https://pictures.example" }]));
    let mut file = file();
    assert_eq!((file["openapi"].as_str(), served["openapi"].as_str()), (Some("3.1.0"), Some("3.1.0")));
    file["servers"] = Value::Null;
    served["servers"] = Value::Null;
    assert_eq!(served, file);
}

#[test]
fn what_fals_clients_send_for_logs_is_in_the_document() {
    let document = file();
    for path in ["status", "status/stream"] {
        let path = format!("/queue/{{owner}}/{{app}}/requests/{{id}}/{path}");
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let logs = parameters.iter().find(|parameter| parameter["name"] == "logs").unwrap();
        assert_eq!(logs["schema"]["enum"], json!(["0", "1", "false", "true"]));
    }
}

#[tokio::test]
async fn the_page_about_the_routes_loads_nothing_from_elsewhere() {
    let stack = Stack::start().await;
    let page = stack.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'self';")
    );
    let files = ["/docs/style.css", "/docs/page.js"];
    let mut texts = vec![page.text().to_owned()];
    for file in files {
        assert!(page.text().contains(file), "{file}");
        let answer = stack.get(file).await;
        assert_eq!(answer.status, 200, "{file}");
        texts.push(answer.text().to_owned());
    }
    for text in texts {
        assert!(!text.contains("://") && !text.contains("\"//") && !text.contains("@import"), "{text}");
    }
}

/// A route that submits, and what a body needs besides the field that is tried.
struct Submit {
    path: &'static str,
    members: Value,
}

#[cfg(test)]
/// A picture as a data URI.
fn picture() -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png(64, 64)))
}

fn submits() -> [Submit; 4] {
    let uri = picture();
    [
        Submit { path: "/v1/jobs", members: json!({ "app": "glimpse/demo", "prompt": "a", "image": uri }) },
        Submit { path: "/queue/{owner}/{app}", members: json!({ "prompt": "a", "image_url": uri }) },
        Submit {
            path: "/queue/{owner}/{app}/image-to-image",
            members: json!({ "prompt": "a", "image_url": uri }),
        },
        Submit {
            path: "/queue/{owner}/{app}/inpainting",
            members: json!({ "prompt": "a", "image_url": uri, "mask_url": uri }),
        },
    ]
}

/// The schema itself if this is a reference to one.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

fn has_type(schema: &Value, name: &str) -> bool {
    match &schema["type"] {
        Value::Array(types) => types.iter().any(|one| one == name),
        one => one == name,
    }
}

#[cfg(test)]
/// Values at the bounds of a schema and just outside of them, and whether the schema allows them.
fn tries(document: &Value, schema: &Value) -> Vec<(Value, bool)> {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["anyOf"].as_array() {
        let all: Vec<_> = choices.iter().flat_map(|choice| tries(document, choice)).collect();
        let allowed: Vec<_> =
            all.iter().filter(|(_, is_valid)| *is_valid).map(|(value, _)| value.clone()).collect();
        // Another choice may allow it.
        let forbidden = |value: &Value| !value.is_null() && !allowed.contains(value);
        return all.into_iter().filter(|(value, is_valid)| *is_valid || forbidden(value)).collect();
    }
    let mut tries = Vec::new();
    if let Some(words) = schema["enum"].as_array() {
        tries.extend(words.iter().map(|word| (word.clone(), true)));
        tries.push((json!("no such word"), false));
        return tries;
    }
    tries.push((Value::Null, has_type(schema, "null")));
    if has_type(schema, "integer") || has_type(schema, "number") {
        tries.extend(numbers(schema));
    } else if has_type(schema, "string") {
        tries.extend(texts(schema));
    } else if has_type(schema, "boolean") {
        tries.extend([(json!(true), true), (json!(false), true), (json!("true"), false)]);
    } else if has_type(schema, "array") {
        tries.extend(lists(document, schema));
    } else if has_type(schema, "object") {
        tries.extend(objects(document, schema));
    } else {
        panic!("a field without a type: {schema}");
    }
    tries
}

fn numbers(schema: &Value) -> Vec<(Value, bool)> {
    let mut tries = vec![(json!("1"), false), (json!([1]), false)];
    if has_type(schema, "integer") {
        let [least, most] = ["minimum", "maximum"].map(|bound| schema[bound].as_i64().expect("whole bounds"));
        let step = schema["multipleOf"].as_i64().unwrap_or(1);
        let good = [least, least + step, most].map(|value| (json!(value), true));
        let bad = [least - step, most + step].map(|value| (json!(value), false));
        tries.extend(good.into_iter().chain(bad));
        // 64.0 is a whole number, as in JavaScript.
        tries.extend([(json!(least as f64), true), (json!(least as f64 + 0.5), false)]);
        tries.extend((step > 1).then(|| (json!(least + 1), false)));
        return tries;
    }
    let most = schema["maximum"].as_f64().expect("a number has a maximum");
    tries.extend([(json!(most), true), (json!(most + 1e-6), false)]);
    match schema["minimum"].as_f64() {
        Some(least) => tries.extend([(json!(least), true), (json!(least - 1e-6), false)]),
        None => tries.push((schema["exclusiveMinimum"].clone(), false)),
    }
    tries
}

fn texts(schema: &Value) -> Vec<(Value, bool)> {
    let mut tries = vec![(json!(7), false), (json!({}), false)];
    let (least, most) = (schema["minLength"].as_u64(), schema["maxLength"].as_u64());
    let text = |length: u64| json!("\u{e9}".repeat(length as usize));
    if schema["pattern"].as_str().is_some_and(|pattern| pattern.ends_with("://")) {
        // A URL; 192.0.2.0/24 is for documents, and nothing is there.
        let url = |length: u64| json!(format!("{:a<1$}", "http://8.8.8.8/", length as usize));
        let most = most.expect("a URL has a bound");
        tries.extend([
            (url(20), true),
            (url(most), true),
            (url(most + 1), false),
            (json!("ftp://8.8.8.8/"), false),
        ]);
        return tries;
    }
    if let Some(least) = least.filter(|least| *least > 0) {
        tries.push((text(least - 1), false));
    }
    // The longest texts without an effect are as long as a body may be.
    if let Some(most) = most.filter(|most| *most < 1 << 20) {
        tries.extend([(text(least.unwrap_or(0)), true), (text(most), true), (text(most + 1), false)]);
    }
    if let Some(most) = schema["pattern"].as_str().and_then(|pattern| pattern.strip_prefix("^.{1,")) {
        let most: u64 = most.trim_end_matches("}$").parse().expect("the most of it");
        tries.extend([(json!(""), false), (json!("a/b.safetensors"), true), (text(most + 1), false)]);
    }
    // The patterns of pictures, schedulers and sizes do not say all that their values need.
    if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains(r"]{0,63}/[")) {
        let part = "a".repeat(64);
        tries.push((json!("glimpse/demo"), true));
        tries.extend(["demo", "a/b/c", "/demo", ".a/demo", "a b/demo", ""].map(|name| (json!(name), false)));
        tries.push((json!(format!("{part}a/demo")), false));
    }
    tries
}

/// A valid value of a member that is not tried.
fn sample(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    match schema["pattern"].as_str() {
        Some(pattern) if pattern.contains("[Dd][Aa][Tt][Aa]") => json!(picture()),
        _ if schema["enum"].is_array() => schema["enum"][0].clone(),
        _ if has_type(schema, "array") => {
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            json!(vec![sample(document, &schema["items"]); least])
        }
        _ if has_type(schema, "string") => json!("a"),
        _ => schema["minimum"].clone(),
    }
}

fn objects(document: &Value, schema: &Value) -> Vec<(Value, bool)> {
    let required = schema["required"].as_array().into_iter().flatten();
    let required: Vec<_> = required.map(|name| name.as_str().unwrap()).collect();
    let properties = schema["properties"].as_object().unwrap();
    let whole: Map<_, _> =
        required.iter().map(|name| ((*name).to_owned(), sample(document, &properties[*name]))).collect();
    let with = |name: &str, value: Value| {
        let mut object = whole.clone();
        object.insert(name.to_owned(), value);
        Value::Object(object)
    };
    let mut tries = vec![(Value::Object(whole.clone()), true)];
    for (name, schema) in properties {
        let each = self::tries(document, schema).into_iter();
        tries.extend(each.map(|(value, is_valid)| (with(name, value), is_valid)));
    }
    for name in required {
        let mut object = whole.clone();
        object.remove(name);
        tries.push((Value::Object(object), false));
    }
    if schema["additionalProperties"] == false {
        tries.push((with("no_such_member", json!(1)), false));
    }
    tries
}

fn lists(document: &Value, schema: &Value) -> Vec<(Value, bool)> {
    let items = tries(document, &schema["items"]);
    let (good, _) = items.iter().find(|(item, is_valid)| *is_valid && !item.is_null()).unwrap().clone();
    let most = schema["maxItems"].as_u64().expect("a list has a maximum") as usize;
    let list = |length: usize| json!(vec![good.clone(); length]);
    let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
    let mut tries =
        vec![(list(least), true), (list(most), true), (list(most + 1), false), (json!({}), false)];
    tries.extend(least.checked_sub(1).map(|fewer| (list(fewer), false)));
    tries.extend(items.into_iter().map(|(item, is_valid)| (json!(vec![item; least.max(1)]), is_valid)));
    tries
}

/// The types of errors about fields that do not fit together, or to what the workers offer.
const FIT: [&str; 12] = [
    "too_few_steps",
    "not_descending",
    "excluded",
    "steps_differ",
    "not_offered",
    "unexpected_image",
    "unexpected_mask",
    "missing_mask",
    "mask_size",
    "empty_window",
    "missing_preprocess",
    "thresholds",
];

#[cfg(test)]
/// Whether a route found nothing wrong with a field. It may still find that the fields do not fit together.
fn takes(answer: &Answer, field: &str) -> bool {
    match answer.status {
        200 | 202 => true,
        422 => {
            let errors = answer.json()["detail"].as_array().unwrap().clone();
            let fits_not = |error: &Value| FIT.iter().any(|kind| error["type"] == *kind);
            !errors.iter().any(|error| error["loc"][1] == field && !fits_not(error))
        }
        status => panic!("{status}: {}", answer.text()),
    }
}

#[tokio::test]
async fn the_bounds_in_the_document_are_those_of_the_checks() {
    let document = file();
    let stack = Stack::start().await;
    let mut client = stack.client().await;
    for Submit { path, members } in submits() {
        let body = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let schema = resolved(&document, body);
        let properties = schema["properties"].as_object().unwrap();
        assert!(properties.len() > 15, "{path}");
        let path = path.replace("{owner}", "glimpse").replace("{app}", "demo");
        let mut tried = 0;
        // `from` needs a job that exists, or a recipe: branch.rs tries it.
        for (field, schema) in properties.iter().filter(|(field, _)| *field != "from") {
            for (value, is_valid) in tries(&document, schema) {
                let mut body = members.clone();
                body[field] = value.clone();
                let answer = client.ask("POST", &path, &[], body.to_string().as_bytes()).await;
                let shown: String = value.to_string().chars().take(80).collect();
                assert_eq!(takes(&answer, field), is_valid, "{path} {field} {shown}: {}", answer.text());
                tried += 1;
            }
        }
        assert!(tried > 150, "{path}: {tried}");
        for required in schema["required"].as_array().unwrap() {
            let field = required.as_str().unwrap();
            let mut body = members.clone();
            body.as_object_mut().unwrap().remove(field);
            let answer = client.ask("POST", &path, &[], body.to_string().as_bytes()).await;
            assert!(!takes(&answer, field), "{path} without {field}");
        }
        let mut body = members.clone();
        body["no_such_field"] = json!(1);
        let answer = client.ask("POST", &path, &[], body.to_string().as_bytes()).await;
        assert_eq!(takes(&answer, "no_such_field"), schema["additionalProperties"] != false, "{path}");
    }
}
