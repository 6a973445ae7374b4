//! The page as a person uses it: controls by their accessible names, and what it says.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    path::Path,
    time::{Duration, Instant},
};

use futures::FutureExt;
use serde::Deserialize;
use serde_json::json;
use thirtyfour::WebElement;

use crate::{
    axe,
    browser::{Browser, Look},
    driver::SOON,
};

/// What the page shows at one moment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Shown {
    /// All texts of `role=status`.
    pub status: String,
    /// All texts of `role=alert`.
    pub alerts: String,
    /// The picture in the making, or the finished one, with its alt text and its address.
    pub pictures: Vec<Picture>,
    /// The progress bar's value and its largest one.
    pub progress: Option<[f64; 2]>,
    /// The text of everything that can be seen.
    pub text: String,
}

/// The large picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Picture {
    pub alt: String,
    pub src: String,
}

impl Shown {
    /// Whether exactly one picture is shown, whose alt text begins so.
    pub fn has(&self, begins: &str) -> bool {
        matches!(&self.pictures[..], [picture] if picture.alt.starts_with(begins))
    }
}

/// An open page. [`visit`] gives it.
pub struct Page {
    pub browser: Browser,
    address: String,
}

/// Opens the server's page, lets the test use it, and closes the browser. Fails if the page wrote an error to the
/// console, broke its own policy, or sent a request to another server.
pub async fn visit(look: Look, address: &str, test: impl AsyncFnOnce(&Page)) {
    visit_expecting(&[], look, address, test).await;
}

/// The same, where the test provokes errors in the console that contain these words.
pub async fn visit_expecting(errors: &[&str], look: Look, address: &str, test: impl AsyncFnOnce(&Page)) {
    let page = Page { browser: Browser::open(look).await, address: address.to_owned() };
    let tested = async {
        page.browser.driver.goto(address).await.unwrap();
        test(&page).await;
        let console = page.browser.console().await;
        let unexpected: Vec<_> =
            console.iter().filter(|line| !errors.iter().any(|error| line.contains(error))).collect();
        assert!(unexpected.is_empty(), "the console has {unexpected:#?}");
        let sent = page.browser.sent().await;
        let elsewhere: Vec<_> = sent.iter().filter(|one| !page.is_own(&one.url)).collect();
        assert!(elsewhere.is_empty(), "requests to others: {elsewhere:#?}");
    };
    let ended = AssertUnwindSafe(tested).catch_unwind().await;
    if ended.is_err() {
        page.describe().await;
    }
    page.browser.close().await;
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

impl Page {
    /// The control with this accessible name, waiting until it is there. The role is one of those given.
    pub async fn find(&self, roles: &[&str], name: &str) -> WebElement {
        let begun = Instant::now();
        loop {
            if let [one] = &self.find_all(roles, name).await[..] {
                return one.clone();
            }
            if begun.elapsed() > SOON {
                let count = self.find_all(roles, name).await.len();
                panic!("there are {count} elements {name:?} with the role {roles:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All visible controls with this accessible name and one of these roles.
    pub async fn find_all(&self, roles: &[&str], name: &str) -> Vec<WebElement> {
        let script = "
            const near = (element) => [element.textContent, element.getAttribute('aria-label'), element.title, element.alt,
              ...[...element.querySelectorAll('img')].map((one) => one.alt),
              ...[...element.labels ?? []].map((label) => label.textContent),
              ...(element.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id)?.textContent)];
            return [...document.querySelectorAll('a,button,input,textarea,select,summary,[role]')].filter((element) =>
              element.checkVisibility({ visibilityProperty: true })
              && near(element).some((text) => text?.includes(arguments[0])));";
        let found = self.browser.script(script, vec![json!(name)]).await;
        let mut named = Vec::new();
        for reference in found.as_array().unwrap() {
            let driver = self.browser.driver.handle().clone();
            let element = WebElement::from_json(reference.clone(), driver).unwrap();
            if self.browser.name_of(&element).await == name
                && roles.contains(&&*self.browser.role_of(&element).await)
            {
                named.push(element);
            }
        }
        named
    }

    pub async fn button(&self, name: &str) -> WebElement {
        self.find(&["button", "link"], name).await
    }

    pub async fn field(&self, name: &str) -> WebElement {
        self.find(&["textbox", "spinbutton"], name).await
    }

    /// Writes into a field in place of what is there.
    pub async fn fill(&self, name: &str, text: &str) {
        let field = self.field(name).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub async fn value_of(&self, name: &str) -> String {
        self.field(name).await.prop("value").await.unwrap().unwrap_or_default()
    }

    /// Waits until a button is enabled, and clicks it.
    pub async fn press(&self, name: &str) {
        let button = self.button(name).await;
        self.until(&format!("{name} to be enabled"), async || button.is_enabled().await.unwrap()).await;
        button.click().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub async fn is_enabled(&self, name: &str) -> bool {
        self.button(name).await.is_enabled().await.unwrap()
    }

    /// Asks for a picture.
    pub async fn generate(&self, prompt: &str) {
        self.fill("Prompt", prompt).await;
        self.press("Generate").await;
    }

    /// Waits until a condition of what is shown is true, and returns what is shown then.
    pub async fn shows(&self, what: &str, condition: impl Fn(&Shown) -> bool) -> Shown {
        let begun = Instant::now();
        loop {
            let shown = self.shown().await;
            if condition(&shown) {
                return shown;
            }
            assert!(begun.elapsed() < SOON, "waited for {what}, and the page shows {shown:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the finished picture.
    pub async fn finished(&self) -> Shown {
        self.shows("the finished picture", |shown| shown.has("Picture")).await
    }

    /// Waits until the status says this, in any case.
    pub async fn says(&self, text: &str) -> Shown {
        self.shows(text, |shown| shown.status.to_lowercase().contains(text)).await
    }

    /// Waits until something is true.
    pub async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !condition().await {
            assert!(begun.elapsed() < SOON, "waited for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn shown(&self) -> Shown {
        let script = "
            const seen = (element) => element.checkVisibility({ visibilityProperty: true });
            const texts = (what) => [...document.querySelectorAll(what)].filter(seen)
              .map((one) => one.textContent.trim()).filter((text) => text !== '').join(' | ');
            const bar = [...document.querySelectorAll('progress,[role=progressbar]')].find(seen);
            const number = (own, aria) => Number(bar.getAttribute(aria) ?? bar[own]);
            return {
              status: texts('[role=status],output'),
              alerts: texts('[role=alert]'),
              pictures: [...document.images].filter((one) => seen(one) && /^(Preview|Picture)/.test(one.alt))
                .map(({ alt, src }) => ({ alt, src })),
              progress: bar ? [number('value', 'aria-valuenow'), number('max', 'aria-valuemax')] : null,
              text: document.body.innerText,
            };";
        serde_json::from_value(self.browser.script(script, Vec::new()).await).unwrap()
    }

    /// The text that describes what is wrong with a field; `None` if it is right.
    pub async fn complaint(&self, name: &str) -> Option<String> {
        let script = "
            const field = arguments[0];
            if (field.getAttribute('aria-invalid') !== 'true') return null;
            return ['aria-errormessage', 'aria-describedby']
              .flatMap((name) => (field.getAttribute(name) ?? '').split(' '))
              .map((id) => document.getElementById(id))
              .filter((one) => one?.checkVisibility()).map((one) => one.textContent.trim()).join(' ');";
        let field = self.field(name).await;
        let text = self.browser.script(script, vec![field.to_json().unwrap()]).await;
        text.as_str().map(str::to_owned)
    }

    /// The bytes of a picture that the page shows, in base64.
    pub async fn bytes_of(&self, picture: &Picture) -> String {
        // Drawn, because the policy does not let scripts fetch data.
        let script = "
            const shown = [...document.images].find((one) => one.src === args[0]);
            await shown.decode();
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [shown.naturalWidth, shown.naturalHeight];
            canvas.getContext('2d').drawImage(shown, 0, 0);
            return canvas.toDataURL('image/png');";
        let answer = self.browser.await_script(script, vec![json!(picture.src)]).await;
        answer.as_str().unwrap().to_owned()
    }

    /// How many jobs the browser has sent.
    pub async fn jobs_sent(&self) -> usize {
        let jobs = format!("{}/v1/jobs", self.address);
        let sent = self.browser.sent().await;
        sent.iter().filter(|one| one.method == "POST" && one.url == jobs).count()
    }

    pub async fn reload(&self) {
        self.browser.driver.refresh().await.unwrap();
    }

    /// Checks a state of the page with axe-core, and saves what it looks like if `GLIMPSE_SCREENSHOTS` names a folder.
    pub async fn is_accessible(&self, state: &str) {
        self.save_as(state).await;
        let found = axe::found(&self.browser).await;
        assert!(found.is_empty(), "axe-core finds in {state:?}: {found:#?}");
    }

    /// Saves what the page looks like if `GLIMPSE_SCREENSHOTS` names a folder.
    pub async fn save_as(&self, state: &str) {
        if let Some(folder) = std::env::var_os("GLIMPSE_SCREENSHOTS") {
            std::fs::create_dir_all(&folder).unwrap();
            self.browser.screenshot(&Path::new(&folder).join(format!("{state}.png"))).await;
        }
    }

    /// The widths of the page and of its window.
    pub async fn widths(&self) -> (f64, f64) {
        let script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth];";
        let widths = self.browser.script(script, Vec::new()).await;
        (widths[0].as_f64().unwrap(), widths[1].as_f64().unwrap())
    }

    fn is_own(&self, url: &str) -> bool {
        ["data:", "blob:", "about:", "chrome"].iter().any(|own| url.starts_with(own))
            || url.strip_prefix(&self.address).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Prints the page of a test that failed.
    async fn describe(&self) {
        let script = "return location.href + '\\n' + document.body.innerText;";
        // The browser itself may have failed.
        let Ok(text) = self.browser.driver.execute(script, Vec::new()).await else { return };
        eprintln!("--- the page\n{}", text.json().as_str().unwrap_or_default());
        eprintln!("--- its console\n{}", self.browser.console().await.join("\n"));
        self.save_as(&format!("failed-{}", self.address.rsplit(':').next().unwrap_or_default())).await;
    }
}
