//! The examples of docs/clients.md, as a reader would run them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{sdk::PYTHON, stack::Process};

/// A fenced block: its language, and its text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

/// What a program prints that reads `code` from its standard input, in a shell with these settings.
async fn printed(settings: String, program: String, code: String) -> String {
    let run = move || {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{settings}\nexec {program}")])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{program}: {said}\n{code}");
        String::from_utf8(ended.stdout).unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_makes_a_picture() {
    let page = include_str!("../../docs/clients.md");
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().display().to_string();
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0", "--tls-dir", &tls]);
    let address = server.address().await;
    let port = address.rsplit(':').next().unwrap().to_owned();
    let here = |text: &str| {
        let text = text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        text.replace("tls/ca.pem", &format!("{tls}/ca.pem"))
    };
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let (mut settings, mut ran) = (String::new(), 0);
    for (language, code) in blocks(page) {
        let code = here(code);
        let program = match language {
            "sh settings" => {
                settings = code;
                continue;
            }
            "python" => format!("{python}{PYTHON} -"),
            "js" => "node --input-type=module -".to_owned(),
            "sh" if !code.starts_with("glimpse serve") => "sh -e".to_owned(),
            _ => continue,
        };
        let out = printed(settings.clone(), program, code.clone()).await;
        // A picture is the last text between quotes, spaces or lines that is a data URI.
        let url = out.split(['"', ' ', '\n']).rfind(|word| word.starts_with("data:image/"));
        let url = url.unwrap_or_else(|| panic!("no picture: {code}\n{out}"));
        let (_, data) = url.split_once(";base64,").unwrap();
        let picture = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (128, 128), "{code}");
        ran += 1;
    }
    assert_eq!(ran, 8, "{:?}", blocks(page).iter().map(|(language, _)| language).collect::<Vec<_>>());
}
