//! `glimpse watch`.

use std::{
    net::SocketAddr,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::stack::{Process, SOON, binary, client, until_log};

#[cfg(test)]
fn watch(args: &[&str]) -> Output {
    Command::new(binary("glimpse")).arg("watch").args(args).env_remove("GLIMPSE_SERVER").output().unwrap()
}

/// Submits a job; returns its id.
#[cfg(test)]
async fn submit(address: &str, members: Value) -> String {
    let mut body = json!({ "app": "glimpse/demo", "prompt": "a red heart", "seed": 5, "preview_every": 1 });
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let answer = client().post(format!("{address}/v1/jobs")).json(&body).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// A way to a server whose connections can be cut.
struct Way {
    address: String,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

#[cfg(test)]
impl Way {
    async fn to(server: &str) -> Self {
        let server: SocketAddr = server.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::<Mutex<Vec<_>>>::default();
        let ways = open.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let way = tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    // Its end is the end of the connection.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
                ways.lock().unwrap().push(way);
            }
        });
        Self { address, open }
    }

    /// Cuts all connections; returns how many.
    fn cut(&self) -> usize {
        let open = std::mem::take(&mut *self.open.lock().unwrap());
        open.iter().for_each(JoinHandle::abort);
        open.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_joined_late_over_a_lost_connection_and_after_its_end() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let way = Way::to(&address).await;
    let steps = json!({ "num_inference_steps": 50, "width": 256, "height": 256, "output_format": "png" });
    let id = submit(&address, steps).await;
    let (file, previews) = (path("heart.png"), path("previews"));
    let mut watching = Process::start(
        "glimpse",
        &["watch", &id, "-o", &file, "--preview-dir", &previews, "--server", &way.address],
    );
    until_log(&watching, "/50\n").await;
    assert_eq!(way.cut(), 1);
    assert!(watching.exit(SOON).await.success(), "{}", watching.log());
    assert_eq!(way.cut(), 1, "the connection was not made again");
    let log = watching.log();
    assert!(log.contains("50/50\n") && log.contains("heart.png (seed 5)"), "{log}");
    assert!(std::fs::read_dir(&previews).unwrap().count() > 0);
    let made = client().get(format!("{address}/v1/jobs/{id}/image")).send().await.unwrap();
    let made = made.bytes().await.unwrap();
    assert!(std::fs::read(&file).unwrap() == made);

    let at = ["--server", &address];
    let later = path("later.jpg");
    let output = watch(&[&[&*id, "-o", &later], &at[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the picture is image/png") && !std::fs::exists(&later).unwrap(), "{said}");
    let output = watch(&[&[&*id, "-o", "-"], &at[..]].concat());
    assert!(output.status.success() && output.stdout == made);
    let output = watch(&[&[&*id, "--json"], &at[..]].concat());
    assert_eq!(output.status.code(), Some(0));
    let last: Value =
        serde_json::from_slice(output.stdout.split_inclusive(|b| *b == b'\n').next_back().unwrap()).unwrap();
    assert_eq!(last, json!({ "type": "completed", "job": id, "files": [], "seed": 5 }));
    let output = watch(&[&["01938c00-0000-7000-8000-000000000007"], &at[..]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_the_job_running() {
    let mut server = Process::start("glimpse", &["serve", "--listen", "127.0.0.1:0"]);
    let address = server.address().await;
    let id = submit(&address, json!({ "num_inference_steps": 50, "width": 512, "height": 512 })).await;
    let mut watching = Process::start("glimpse", &["watch", &id, "--server", &address]);
    until_log(&watching, "/50\n").await;
    watching.signal("INT");
    assert_eq!(watching.exit(SOON).await.code(), Some(130));
    let log = watching.log();
    assert!(log.contains(&format!("the job goes on; `glimpse watch {id}` joins it again")), "{log}");
    let job = format!("{address}/v1/jobs/{id}");
    let status = client().get(&job).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(status["status"], "running");

    client().delete(&job).send().await.unwrap();
    let output = watch(&[&id, "--server", &address, "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["type"], &event["exit_code"]), (&"failed".into(), &4.into()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cancelled by client"));
}
