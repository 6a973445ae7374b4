//! The page in real headless Chromium, against real programs. `scripts/test` installs chromium, its driver and axe-core.
//!
//! ```text
//! driver.rs   one chromedriver for all tests   browser.rs  a Chromium with its own profile
//! page.rs     the page as a person uses it     axe.rs      axe-core
//! stage.rs    a server whose worker does what the test says, step by step
//! process.rs  a program of the workspace
//! ```
//!
//! `GLIMPSE_SCREENSHOTS=FOLDER` saves what the page looks like in each state.

#[cfg(test)]
mod axe;
#[cfg(test)]
mod branching;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod gallery;
#[cfg(test)]
mod keyboard;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod making;
#[cfg(test)]
mod page;
#[cfg(test)]
mod process;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod safety;
#[cfg(test)]
mod snippets;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod staying;
