//! A headless Chromium with a profile of its own, and what WebDriver has no command for in the client library.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    WebDriver, WebElement,
    common::{
        capabilities::desiredcapabilities::Capabilities,
        command::{Command, ExtensionCommand},
    },
    error::WebDriverResult,
};

use crate::{
    driver::{Driver, SOON},
    requests,
};

/// How a browser shows pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Look {
    /// A desk: 1280 to 900 pixels, light.
    #[default]
    Desk,
    /// A dark theme.
    Dark,
    /// A phone: 375 to 667 pixels.
    Phone,
    /// A desk whose user wants text of twice the size.
    LargeText,
}

/// A request that the browser has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub url: String,
}

/// A browser. Close it with [`Browser::close`].
pub struct Browser {
    pub driver: WebDriver,
    sent: Mutex<Vec<Sent>>,
    folder: TempDir,
    _running: Arc<Driver>,
}

impl Browser {
    pub async fn open(look: Look) -> Self {
        let running = Driver::shared();
        let folder = tempfile::tempdir().unwrap();
        // Root needs the first; a container's /dev/shm is small.
        let args = [
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--headless=new",
            "--disable-gpu",
            "--no-proxy-server",
            "--force-prefers-reduced-motion",
            "--hide-scrollbars",
            "--window-size=1280,900",
        ];
        let font_size = if look == Look::LargeText { 32 } else { 16 };
        let preferences = json!({
            "download": { "default_directory": folder.path(), "prompt_for_download": false },
            "webkit": { "webprefs": { "default_font_size": font_size } },
        });
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "args": args, "prefs": preferences },
        });
        let capabilities = Capabilities::from(capabilities.as_object().unwrap().clone());
        let driver = WebDriver::builder(running.address(), capabilities)
            .client(requests::client())
            .connect()
            .await
            .expect("chromium is installed (scripts/test installs it)");
        let browser = Self { driver, sent: Mutex::default(), folder, _running: running };
        browser.show(look).await;
        browser
    }

    async fn show(&self, look: Look) {
        match look {
            Look::Desk | Look::LargeText => {}
            Look::Dark => {
                let dark = json!({ "name": "prefers-color-scheme", "value": "dark" });
                self.devtools("Emulation.setEmulatedMedia", json!({ "features": [dark] })).await;
            }
            Look::Phone => {
                let phone = json!({ "width": 375, "height": 667, "deviceScaleFactor": 2, "mobile": true });
                self.devtools("Emulation.setDeviceMetricsOverride", phone).await;
            }
        }
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("goog/cdp/execute", body).await
    }

    /// Evaluates the body of a function with arguments.
    pub async fn script(&self, body: &str, arguments: Vec<Value>) -> Value {
        let answer = self.driver.execute(body, arguments).await;
        answer.unwrap_or_else(|error| panic!("{body}: {error}")).json().clone()
    }

    /// The same for a body that awaits.
    pub async fn await_script(&self, body: &str, arguments: Vec<Value>) -> Value {
        let body = format!(
            "const done = arguments[arguments.length - 1];
             (async (...args) => {{ {body} }})(...arguments).then((value) => done({{ value }}),
                                                                 (error) => done({{ error: String(error) }}));"
        );
        let answer = self.driver.execute_async(&*body, arguments).await.unwrap().json().clone();
        assert!(answer["error"].is_null(), "{body}: {}", answer["error"]);
        answer["value"].clone()
    }

    /// The name that assistive technology reads for an element.
    pub async fn name_of(&self, element: &WebElement) -> String {
        self.computed(element, "computedlabel").await
    }

    /// Its role for assistive technology.
    pub async fn role_of(&self, element: &WebElement) -> String {
        self.computed(element, "computedrole").await
    }

    async fn computed(&self, element: &WebElement, what: &str) -> String {
        let path = format!("element/{}/{what}", element.element_id());
        // An element that is gone meanwhile has no name.
        let answer = self.try_command(Method::GET, &path, None).await.unwrap_or_default();
        answer.as_str().unwrap_or_default().to_owned()
    }

    /// Allows the page to use the clipboard, as a person does.
    pub async fn allow_clipboard(&self) {
        for name in ["clipboard-read", "clipboard-write"] {
            let body = json!({ "descriptor": { "name": name }, "state": "granted" });
            self.command("permissions", body).await;
        }
    }

    pub async fn clipboard(&self) -> String {
        let text = self.await_script("return navigator.clipboard.readText();", Vec::new()).await;
        text.as_str().unwrap().to_owned()
    }

    /// Takes the browser off the network, or puts it back.
    pub async fn go_offline(&self, offline: bool) {
        let body = json!({ "network_conditions": {
            "offline": offline, "latency": 0, "download_throughput": -1, "upload_throughput": -1,
        } });
        self.command("chromium/network_conditions", body).await;
    }

    /// Waits for a finished download.
    pub async fn download(&self) -> PathBuf {
        let begun = Instant::now();
        loop {
            let mut files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
            let is_whole = |path: &PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy();
                !name.starts_with('.') && !name.ends_with(".crdownload")
            };
            if let Some(file) = files.find(is_whole) {
                return file;
            }
            assert!(begun.elapsed() < SOON, "nothing was downloaded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A picture of the whole page.
    pub async fn screenshot(&self, file: &Path) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let options = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", options).await;
        std::fs::write(file, STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// What the console has, as far as it was not read before: violations of the policy, errors of scripts, failed
    /// requests.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.log("browser").await;
        let severe = entries.into_iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Every request since the browser was opened.
    pub async fn sent(&self) -> Vec<Sent> {
        let entries = self.log("performance").await;
        let mut sent = self.sent.lock().unwrap();
        for entry in entries {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let (method, request) = (&message["message"]["method"], &message["message"]["params"]["request"]);
            let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
            if method == "Network.requestWillBeSent" {
                sent.push(Sent { method: text("method"), url: text("url") });
            }
        }
        sent.clone()
    }

    pub async fn close(self) {
        // The driver closes what is left of a browser that does not answer.
        let _ = self.driver.quit().await;
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("se/log", json!({ "type": kind })).await;
        entries.as_array().cloned().unwrap_or_default()
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let answer = self.try_command(Method::POST, path, Some(body)).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_command(&self, method: Method, path: &str, body: Option<Value>) -> WebDriverResult<Value> {
        let command = Extension { method, path: format!("/{path}").into(), body };
        self.driver.cmd(Command::ExtensionCommand(Box::new(command))).await?.value()
    }
}

/// A command of the session that the client library does not name.
#[derive(Debug)]
struct Extension {
    method: Method,
    path: Arc<str>,
    body: Option<Value>,
}

impl ExtensionCommand for Extension {
    fn parameters_json(&self) -> Option<Value> {
        self.body.clone()
    }

    fn method(&self) -> Method {
        self.method.clone()
    }

    fn endpoint(&self) -> Arc<str> {
        self.path.clone()
    }
}
