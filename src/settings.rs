//! `docs/settings.md`: every flag of every program, from the same structs that parse them.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};

const MARK: &str =
    "<!-- generated: GLIMPSE_WRITE_SETTINGS=1 cargo test --workspace --bin glimpse settings -->\n";

/// One flag with all that is said of it. Programs with the same flag share a row.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Setting {
    flag: String,
    variable: String,
    default: String,
    meaning: String,
}

/// The programs and commands in the order of the page, with the names that it gives them.
fn commands() -> Vec<(String, Command)> {
    let glimpse = crate::Cli::command();
    let named = |command: &Command| (format!("glimpse {}", command.get_name()), command.clone());
    let mut all: Vec<_> = glimpse.get_subcommands().map(named).collect();
    let api = ("glimpse-api".to_owned(), glimpse_api::Flags::command());
    let worker = ("glimpse-worker".to_owned(), glimpse_worker::cli::Cli::command());
    // The first one is `serve`, which has the flags of both.
    all.splice(1..1, [api, worker]);
    all
}

fn setting(arg: &Arg) -> Setting {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let names: Vec<_> = short.into_iter().chain(long).collect();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = arg.get_value_names().filter(|_| takes_value).map(|names| names.join(" "));
    let flag = match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_else(|| arg.get_id().to_string()),
        (false, None) => names.join(", "),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
    };
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: Vec<_> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if takes_value && !words.is_empty() {
        let _ = write!(meaning, " One of {}.", words.join(", "));
    }
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let mut default = defaults.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    if !takes_value || default == "``" {
        default.clear();
    }
    // Where no flag means more than no value, the help says so.
    if let Some((before, said)) = meaning.clone().split_once("[default: ") {
        let (said, after) = said.rsplit_once(']').unwrap_or((said, ""));
        default = said.to_owned();
        meaning = format!("{}{after}", before.trim_end());
    }
    let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    Setting { flag: format!("`{flag}`"), variable, default, meaning: meaning.replace('|', "\\|") }
}

/// The settings of all programs, grouped by the programs that have them, in the order of the first one.
fn grouped() -> Vec<(Vec<String>, Vec<Setting>)> {
    let mut order = Vec::new();
    let mut having: BTreeMap<Setting, Vec<String>> = BTreeMap::new();
    for (name, command) in commands() {
        let own = command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "version"));
        for setting in own.filter(|arg| !arg.is_hide_set()).map(setting) {
            let names = having.entry(setting.clone()).or_default();
            if names.is_empty() {
                order.push(setting);
            }
            names.push(name.clone());
        }
    }
    let mut groups: Vec<(Vec<String>, Vec<Setting>)> = Vec::new();
    for setting in order {
        let names = &having[&setting];
        match groups.iter_mut().find(|(known, _)| known == names) {
            Some((_, settings)) => settings.push(setting),
            None => groups.push((names.clone(), vec![setting])),
        }
    }
    groups
}

fn page() -> String {
    let mut text = String::new();
    for (names, settings) in grouped() {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "\n## {}\n\n| flag | variable | default | meaning |\n|---|---|---|---|",
            names.join(", ")
        );
        for Setting { flag, variable, default, meaning } in settings {
            let _ = writeln!(text, "| {flag} | {variable} | {default} | {meaning} |");
        }
    }
    text
}

#[test]
fn the_page_of_settings_is_that_of_the_code() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once(MARK).expect("the mark");
    let new = format!("{before}{MARK}{}", page());
    if std::env::var_os("GLIMPSE_WRITE_SETTINGS").is_some() {
        std::fs::write(&file, &new).unwrap();
    }
    assert!(std::fs::read_to_string(&file).unwrap() == new, "docs/settings.md is old: see its mark");
}

#[test]
fn every_setting_says_what_it_means() {
    for (names, settings) in grouped() {
        for setting in settings {
            assert!(!setting.meaning.is_empty(), "{} of {names:?} has no help", setting.flag);
        }
    }
}
