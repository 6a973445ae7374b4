//! Debian's nginx in front of a server, with its default settings.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::stack::SOON;

/// A running nginx. Killed when dropped.
pub struct Nginx {
    child: Child,
    /// Where it listens, as `http://ADDR`.
    pub address: String,
    folder: TempDir,
}

/// The two lines of docs/operations.md that let a WebSocket through, and the version of HTTP that has it.
const UPGRADE: &str = "proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;";

impl Nginx {
    /// Starts it in front of the server at `http://ADDR`.
    pub async fn before(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("  {name}_temp_path {at}/{name};\n"))
            .concat();
        // Only the folders, the port and the address are not nginx' own defaults.
        let config = format!(
            "user root;\ndaemon off;\npid {at}/pid;\nerror_log {at}/log;\nevents {{}}\nhttp {{\n  access_log off;\n\
             {temporary}  server {{\n    listen 127.0.0.1:{port};\n    location / {{ proxy_pass {server}; }}\n    \
             location ~ /realtime$ {{\n    proxy_pass {server};\n    {UPGRADE}\n    }}\n  }}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let program = if fs::exists("/usr/sbin/nginx").unwrap() { "/usr/sbin/nginx" } else { "nginx" };
        let child = Command::new(program)
            .args(["-e", &format!("{at}/log"), "-p", &at.to_string(), "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs it"));
        let nginx = Self { child, address: format!("http://127.0.0.1:{port}"), folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < SOON, "nginx does not listen: {}", nginx.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nginx
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // So that its workers end too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of nginx\n{}", self.log());
        }
    }
}
