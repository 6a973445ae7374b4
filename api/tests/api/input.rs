//! Invalid input on every submitting route: it gets a 4xx that names the field, and creates no job.

use serde_json::{Value, json};

use crate::support::{Answer, Stack};

/// The routes that submit, and the members that their bodies need besides the picture.
const ROUTES: [(&str, &str); 4] = [
    ("/v1/jobs", r#""app":"glimpse/demo","#),
    ("/glimpse/demo", ""),
    ("/glimpse/demo/stream", ""),
    ("/queue/glimpse/demo", ""),
];

/// Invalid members of a body, the named field, and the kind of error.
const WRONG: &[(&str, &str, &str)] = &[
    (r#""seed":1"#, "prompt", "missing"),
    (r#""prompt":null"#, "prompt", "missing"),
    (r#""prompt":"""#, "prompt", "string_too_short"),
    (r#""prompt":7"#, "prompt", "string_type"),
    (r#""prompt":["a"]"#, "prompt", "string_type"),
    (r#""prompt":"a","num_inference_steps":0"#, "num_inference_steps", "greater_than_equal"),
    (r#""prompt":"a","num_inference_steps":51"#, "num_inference_steps", "less_than_equal"),
    (r#""prompt":"a","num_inference_steps":"20""#, "num_inference_steps", "int_type"),
    (r#""prompt":"a","num_inference_steps":2.5"#, "num_inference_steps", "int_from_float"),
    (r#""prompt":"a","width":7"#, "width", "greater_than_equal"),
    (r#""prompt":"a","width":65"#, "width", "multiple_of"),
    (r#""prompt":"a","width":1e9"#, "width", "less_than_equal"),
    (r#""prompt":"a","height":1000000000"#, "height", "less_than_equal"),
    (r#""prompt":"a","width":1024,"height":1024"#, "width", "less_than_equal"),
    (r#""prompt":"a","guidance_scale":-0.1"#, "guidance_scale", "greater_than_equal"),
    (r#""prompt":"a","guidance_scale":31"#, "guidance_scale", "less_than_equal"),
    (r#""prompt":"a","guidance_scale":true"#, "guidance_scale", "float_type"),
    (r#""prompt":"a","seed":-1"#, "seed", "greater_than_equal"),
    (r#""prompt":"a","seed":9007199254740993"#, "seed", "less_than_equal"),
    (r#""prompt":"a","num_images":5"#, "num_images", "less_than_equal"),
    (r#""prompt":"a","scheduler":"Magic""#, "scheduler", "one_of"),
    (r#""prompt":"a","preview_every":51"#, "preview_every", "less_than_equal"),
    (r#""prompt":"a","preview_source":"both""#, "preview_source", "one_of"),
    (r#""prompt":"a","output_format":"gif""#, "output_format", "one_of"),
];

async fn assert_no_job(stack: &Stack) {
    let claim = glimpse_shared::store::Claim {
        worker: "looks".parse().unwrap(),
        app: crate::support::demo(),
        affinity: None,
        capabilities: crate::support::record("looks", &crate::support::demo()).capabilities(),
        number: 1,
    };
    assert_eq!(stack.store.try_claim(&claim).await.unwrap(), None, "bad input became a job");
}

#[track_caller]
fn assert_wrong(answer: &Answer, what: &str, loc: &Value, kind: &str) {
    assert_eq!(answer.status, 422, "{what}: {}", answer.text());
    let body = answer.json();
    let detail = body["detail"].as_array().unwrap();
    assert_eq!(detail.len(), 1, "{what}: {body}");
    assert_eq!((&detail[0]["loc"], &detail[0]["type"]), (loc, &json!(kind)), "{what}");
    assert!(detail[0]["msg"].is_string(), "{what}");
}

#[tokio::test]
async fn a_missing_field_shows_the_body_that_was_sent() {
    let stack = Stack::start().await;
    let own = json!({ "app": "glimpse/demo", "start_timeout": 5, "seed": 1 });
    let fal = json!({ "prompt": "x", "seed": 1, "strength": 0.5 });
    for (path, body) in [("/v1/jobs", &own), ("/glimpse/demo/image-to-image", &fal)] {
        let answer = stack.post(path, &body.to_string()).await;
        assert_eq!((answer.status, &answer.json()["detail"][0]["input"]), (422, body), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_wrong_field_is_named_on_every_route() {
    let stack = Stack::start().await;
    for (path, app) in ROUTES {
        for (members, field, kind) in WRONG {
            let answer = stack.post(path, &format!("{{{app}{members}}}")).await;
            assert_wrong(&answer, &format!("{path} {members}"), &json!(["body", field]), kind);
            assert!(answer.header("x-fal-request-id").is_some());
        }
    }
    assert_no_job(&stack).await;
}

#[tokio::test]
async fn all_errors_are_reported_at_once() {
    let stack = Stack::start().await;
    for (path, app) in ROUTES {
        let body = format!(r#"{{{app}"num_inference_steps":0,"guidance_scale":-1}}"#);
        let answer = stack.post(path, &body).await.json();
        let fields: Vec<_> = answer["detail"].as_array().unwrap().iter().map(|e| &e["loc"][1]).collect();
        assert_eq!(fields, ["prompt", "num_inference_steps", "guidance_scale"]);
    }
    let answer = stack.post("/v1/jobs", r#"{"app":7,"run_timeout":0,"width":7}"#).await.json();
    let fields: Vec<_> = answer["detail"].as_array().unwrap().iter().map(|e| &e["loc"][1]).collect();
    assert_eq!(fields, ["app", "run_timeout", "prompt", "width"]);
}

#[tokio::test]
async fn invalid_json_is_422_on_every_route() {
    let stack = Stack::start().await;
    for (path, app) in ROUTES {
        for members in [
            r#""prompt":"#,
            r#""prompt":"a","guidance_scale":NaN"#,
            r#""prompt":"a","guidance_scale":Infinity"#,
            r#""prompt":"a","guidance_scale":1e999"#,
            r#""prompt":"\ud800""#,
            r#""prompt":"\udc00\ud800""#,
            r#""prompt":"a" "b""#,
        ] {
            let answer = stack.post(path, &format!("{{{app}{members}}}")).await;
            assert_eq!(answer.status, 422, "{path} {members}");
            let error = &answer.json()["detail"][0];
            assert_eq!((&error["loc"][0], &error["type"]), (&json!("body"), &json!("json_invalid")));
        }
        let mut bytes = format!(r#"{{{app}"prompt":""#).into_bytes();
        bytes.extend(b"\xff\xfe\"}");
        let answer = stack.client().await.ask("POST", path, &[], &bytes).await;
        assert_eq!((answer.status, &answer.json()["detail"][0]["loc"][0]), (422, &json!("body")));
        for body in ["[]", "7", "null", r#""prompt""#] {
            let answer = stack.post(path, body).await;
            assert_wrong(&answer, body, &json!(["body"]), "model_attributes_type");
        }
    }
    assert_no_job(&stack).await;
}

#[tokio::test]
async fn deep_nesting_is_422_without_an_overflow() {
    let stack = Stack::start().await;
    for (path, _) in ROUTES {
        let answer = stack.post(path, &"[".repeat(1_000_000)).await;
        assert_eq!((answer.status, &answer.json()["detail"][0]["loc"][0]), (422, &json!("body")));
    }
}

#[tokio::test]
async fn an_empty_body_is_an_empty_object() {
    let stack = Stack::start().await;
    for (path, missing) in
        [("/v1/jobs", &["app", "prompt"][..]), ("/glimpse/demo", &["prompt"]), (ROUTES[2].0, &["prompt"])]
    {
        for body in ["", "  \n", "{}"] {
            let answer = stack.post(path, body).await;
            assert_eq!(answer.status, 422);
            let body = answer.json();
            let detail = body["detail"].as_array().unwrap();
            let fields: Vec<_> = detail.iter().map(|error| &error["loc"][1]).collect();
            assert_eq!(fields, missing);
            assert!(detail.iter().all(|error| error["type"] == "missing"));
        }
    }
}

#[tokio::test]
async fn unknown_members_are_rejected_on_our_own_route_and_ignored_on_fals() {
    let stack = Stack::start().await;
    let _worker = stack.diligent_worker();
    let own = stack.post("/v1/jobs", r#"{"app":"glimpse/demo","prompt":"a","promt":"b"}"#).await;
    assert_wrong(&own, "promt", &json!(["body", "promt"]), "extra_forbidden");
    let fal = r#"{"prompt":"a","promt":"b","app":7,"enable_safety_checker":true}"#;
    assert_eq!(stack.post("/glimpse/demo", fal).await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_on_every_route_however_it_is_sent() {
    let stack = Stack::start().await;
    let body = vec![b' '; 17 << 20];
    let paths = ["/v1/jobs", "/glimpse/demo", "/glimpse/demo/stream", "/", "/nowhere", "/health/live"];
    for path in paths {
        let answer = stack.client().await.ask("POST", path, &[], &body).await;
        assert_eq!(answer.status, 413, "{path}");
        assert!(answer.json()["detail"].is_string());
        assert!(answer.header("x-fal-request-id").is_some());
    }
    for path in ["/v1/jobs", "/nowhere"] {
        let mut client = stack.client().await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(head.as_bytes()).await.unwrap();
        let chunk = [&b"100000\r\n"[..], &[b' '; 1 << 20], b"\r\n"].concat();
        for _ in 0..17 {
            client.send(&chunk).await.unwrap();
        }
        client.send(b"0\r\n\r\n").await.unwrap();
        assert_eq!(client.answer("POST").await.status, 413);
    }
    // With `Expect: 100-continue` the client need not send the body.
    let mut client = stack.client().await;
    client
        .send(
            b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 17000000\r\n\r\n",
        )
        .await
        .unwrap();
    assert_eq!(client.answer("POST").await.status, 413);
    assert_no_job(&stack).await;
}

#[tokio::test]
async fn a_body_at_the_limit_is_read() {
    let stack = Stack::start().await;
    let answer = stack.client().await.ask("POST", "/v1/jobs", &[], &vec![b' '; 16 << 20]).await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn prompts_may_be_in_any_script() {
    let stack = Stack::start().await;
    let mut worker = stack.worker();
    let long = "界".repeat(10_000);
    for prompt in
        ["ein Bär", "красный круг", "赤い丸", "قلب أحمر", "❤️‍🔥 \u{1F1FA}\u{1F1F3}", "\u{0} \u{202e}", &long]
    {
        let id = stack.submit(prompt).await;
        let lease = worker.claim().await;
        assert_eq!((lease.job.id, lease.job.spec.prompt()), (id, prompt));
        worker.complete(lease).await;
    }
    let body = json!({ "prompt": format!("{long}界") }).to_string();
    for path in ["/glimpse/demo", "/glimpse/demo/stream"] {
        let answer = stack.post(path, &body).await;
        assert_wrong(&answer, "long", &json!(["body", "prompt"]), "string_too_long");
        assert!(answer.body.len() < 5_000, "the prompt is not sent back whole");
    }
}

#[tokio::test]
async fn an_unknown_app_is_404_with_the_list_of_apps() {
    let stack = Stack::start().await;
    let body = r#"{"app":"no/body","prompt":"a"}"#;
    for path in ["/v1/jobs", "/no/body", "/no/body/stream", "/queue/no/body", "/no/body/image-to-image"] {
        let answer = stack.post(path, body).await;
        assert_eq!(answer.status, 404, "{path}");
        let detail = "No worker serves the app no/body. Available apps: glimpse/demo";
        assert_eq!(answer.json(), json!({ "detail": detail, "apps": ["glimpse/demo"] }));
    }
    for path in ["/-/x", "/%ff/x/stream", "/a%2Fb/c", "/a/%F0%9F%92%A9"] {
        assert_eq!(stack.post(path, body).await.status, 404, "{path}");
    }
    for app in [r#""""#, r#""one""#, r#""a/b/c""#, "7", r#""a/ b""#] {
        let answer = stack.post("/v1/jobs", &format!(r#"{{"app":{app},"prompt":"a"}}"#)).await;
        assert_eq!((answer.status, &answer.json()["detail"][0]["loc"]), (422, &json!(["body", "app"])));
    }
}

#[tokio::test]
async fn an_unknown_job_is_404() {
    let stack = Stack::start().await;
    let unknown = "018f2f6e-7b7e-7c4e-9a4e-3f1e2d3c4b0a";
    for id in [unknown, "x", "%00", "%ff", &unknown.to_uppercase(), &unknown.replace('-', "")] {
        for (method, rest) in [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/image")] {
            let answer = stack.ask(method, &format!("/v1/jobs/{id}{rest}"), "").await;
            assert_eq!(answer.status, 404, "{method} {id}{rest}");
            assert_eq!(answer.json(), json!({ "detail": "Job not found" }));
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let stack = Stack::start().await;
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nothing/at/all", 404),
        ("PUT", "/v1/jobs", 405),
        ("POST", "/v1/workers", 405),
        ("PUT", "/v1/jobs/x", 405),
        ("POST", "/", 405),
        ("DELETE", "/health/live", 405),
        ("GET", "/glimpse/demo", 405),
        ("GET", "/glimpse/demo/stream", 405),
    ] {
        let answer = stack.ask(method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["detail"].is_string());
        assert!(answer.header("x-fal-request-id").is_some());
        let any_page = (path != "/v1/workers").then_some("*");
        assert_eq!(answer.header("access-control-allow-origin"), any_page);
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    assert_eq!(stack.get("/nowhere").await.json(), json!({ "detail": "Path /nowhere not found" }));
}
