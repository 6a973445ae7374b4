//! The fleet file: TOML, one `[[app]]` for each app that the process serves.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use clap::{FromArgMatches as _, error::ContextKind};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    app::{self, AppFlags, Given},
    workers::ServedApp,
};

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Why the fleet cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FleetFileError {
    /// The file cannot be read.
    #[error("cannot read the fleet file {} (--fleet): {why}", path.display())]
    Unreadable { path: PathBuf, why: io::Error },
    /// The file does not describe a fleet.
    #[error("the fleet file {} (--fleet) cannot be used: {why}", path.display())]
    Wrong { path: PathBuf, why: String },
}

/// Reads the apps of a file. What one does not set is as the command line says.
///
/// # Errors
/// See [`FleetFileError`]. The text names the line.
pub fn read(path: &Path, given: &Given) -> Result<Vec<ServedApp>, FleetFileError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text))
        .map_err(|why| FleetFileError::Unreadable { path: path.to_owned(), why })?;
    let wrong = |why| FleetFileError::Wrong { path: path.to_owned(), why };
    if text.len() as u64 > LARGEST_FILE {
        return Err(wrong(format!("it has more than {LARGEST_FILE} bytes")));
    }
    parse(&text, given).map_err(wrong)
}

/// A text with its lines.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    /// `line 3: why`
    fn at(&self, span: &Range<usize>, why: &str) -> String {
        let before = self.0.get(..span.start).unwrap_or_default();
        format!("line {}: {why}", before.matches('\n').count() + 1)
    }
}

fn parse(text: &str, given: &Given) -> Result<Vec<ServedApp>, String> {
    let lines = Lines(text);
    let whole = DeTable::parse(text).map_err(|error| match error.span() {
        Some(span) => lines.at(&span, error.message()),
        None => error.message().to_owned(),
    })?;
    let mut entries = None;
    for (key, value) in whole.get_ref() {
        match (&**key.get_ref(), value.get_ref()) {
            ("app", DeValue::Array(list)) => entries = Some(list),
            (other, _) => {
                return Err(
                    lines.at(&key.span(), &format!("{other} is not known here: write [[app]] for each app"))
                );
            }
        }
    }
    let mut apps: Vec<ServedApp> = Vec::new();
    for entry in entries.into_iter().flatten() {
        let DeValue::Table(table) = entry.get_ref() else {
            return Err(lines.at(&entry.span(), "an app should be a table: write [[app]]"));
        };
        let app = one(table, &entry.span(), &lines, given)?;
        if apps.iter().any(|other| other.name == app.name) {
            let why = format!("the app {} is there twice: give each app a name of its own", app.name);
            return Err(lines.at(&entry.span(), &why));
        }
        apps.push(app);
    }
    match apps.is_empty() {
        true => Err("it has no app: write [[app]] with a name and a model".to_owned()),
        false => Ok(apps),
    }
}

/// Reads one app. Its members are parsed as the flags of the same names.
fn one(
    table: &DeTable<'_>,
    span: &Range<usize>,
    lines: &Lines<'_>,
    given: &Given,
) -> Result<ServedApp, String> {
    let command = app::command();
    let mut args = Vec::new();
    let mut set = BTreeMap::new();
    for (key, value) in table {
        let member = &**key.get_ref();
        let flag = match member {
            "name" => "app".to_owned(),
            other => other.replace('_', "-"),
        };
        let known = command.get_arguments().find(|arg| arg.get_long() == Some(&flag));
        let Some(known) = known.filter(|_| member != "app" && !member.contains('-')) else {
            let why = format!(
                "an app has no member {member}: the members are name, and the flags of a worker with _ for -"
            );
            return Err(lines.at(&key.span(), &why));
        };
        let takes_value = known.get_action().takes_values();
        let is_list = known.get_value_delimiter().is_some();
        let arg = argument(&flag, (takes_value, is_list), value)
            .map_err(|why| lines.at(&value.span(), &format!("{member} {why}")))?;
        args.extend(arg);
        set.insert(flag, (member.to_owned(), value.span()));
    }
    let defaults = given.args.iter().filter(|(name, _)| !set.contains_key(name));
    args.extend(defaults.map(|(_, arg)| arg.clone()));
    let flags = command
        .try_get_matches_from(args)
        .and_then(|mut matches| AppFlags::from_arg_matches_mut(&mut matches))
        .map_err(|error| refused(&error, &set, span, lines))?;
    let missing = |what: &str| lines.at(span, &format!("the app has no {what}"));
    let name = flags.fleet.app.clone().ok_or_else(|| missing("name: write name = \"OWNER/NAME\""))?;
    let model = flags.model.model.clone().ok_or_else(|| missing("model: write model = \"…\""))?;
    Ok(ServedApp { name, model, flags, is_of_fleet: true })
}

/// The argument for a member; `None` for a switch that is off.
fn argument(
    flag: &str,
    (takes_value, is_list): (bool, bool),
    value: &Spanned<DeValue<'_>>,
) -> Result<Option<OsString>, String> {
    if !takes_value {
        return match value.get_ref() {
            DeValue::Boolean(on) => Ok(on.then(|| format!("--{flag}").into())),
            _ => Err("should be true or false".to_owned()),
        };
    }
    let text = match value.get_ref() {
        DeValue::Array(list) if is_list => {
            let texts: Option<Vec<_>> = list.iter().map(|entry| scalar(entry.get_ref())).collect();
            texts.map(|texts| texts.join(","))
        }
        other => scalar(other),
    };
    let expected = if is_list { "a text or a list of texts" } else { "a text or a number" };
    let text = text.ok_or_else(|| format!("should be {expected}"))?;
    Ok(Some(format!("--{flag}={text}").into()))
}

/// The value as it is written on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

/// Why the flags were refused, and the line of the member if it is one of the file.
fn refused(
    error: &clap::Error,
    set: &BTreeMap<String, (String, Range<usize>)>,
    span: &Range<usize>,
    lines: &Lines<'_>,
) -> String {
    let whole = error.to_string();
    // What follows an empty line is about the usage.
    let said: Vec<_> = whole.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    let why = said.trim_start_matches("error: ");
    // `--max-pixels <N>`
    let arg = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let flag = arg.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default();
    match set.get(flag) {
        Some((member, span)) => lines.at(span, &format!("{member}: {why}")),
        None => lines.at(span, why),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: Given,
    }

    fn parsed(text: &str, line: &[&str]) -> Result<Vec<ServedApp>, String> {
        let line = Line::try_parse_from([&["serve"], line].concat()).unwrap();
        parse(text, &line.given)
    }

    const TWO: &str = r#"
[[app]]
name = "glimpse/one"
model = "models/one"
max_pixels = 65_536
low_memory = true
checkpoint_every = 2.5
allow_lora_urls = true
allow_lora_hosts = ["a.example", "b.example"]

[[app]]
name = "glimpse/two"
model = "models/two"
device = "cuda:1"
cuda_graph = false
picture_hook_url = "https://example.com/check"
"#;

    #[test]
    fn an_app_has_what_it_says_and_what_the_command_line_says() {
        let line = ["--max-pixels=10000", "--lora-dir", "loras", "--cuda-graph", "--drain-grace=7"];
        let apps = parsed(TWO, &line).unwrap();
        let [one, two] = &apps[..] else { panic!("{apps:?}") };
        assert_eq!((one.name.as_str(), &*one.model), ("glimpse/one", Path::new("models/one")));
        let model = &one.flags.model;
        assert_eq!((model.max_pixels, model.low_memory, model.cuda_graph), (65_536, true, true));
        assert_eq!(model.lora_dir.as_deref(), Some(Path::new("loras")));
        assert_eq!(model.allow_lora_hosts.len(), 2);
        assert_eq!(one.flags.fleet.checkpoint_every.as_millis(), 2500);
        assert!(one.flags.hook.open().is_none());

        let model = &two.flags.model;
        assert_eq!((model.max_pixels, model.low_memory, model.cuda_graph), (10_000, false, false));
        assert_eq!((model.device.as_str(), model.allow_lora_hosts.len()), ("cuda:1", 0));
        assert_eq!((two.flags.fleet.drain_grace, two.flags.fleet.checkpoint_every.as_secs()), (7, 5));
        assert!(two.flags.hook.open().is_some());
        assert!(apps.iter().all(|app| app.is_of_fleet));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let app = |more: &str| format!("[[app]]\nname = \"a/b\"\nmodel = \"m\"\n{more}\n");
        for (text, said) in [
            (app("modell = 1"), "line 4: an app has no member modell"),
            (app("max-pixels = 10000"), "line 4: an app has no member max-pixels"),
            (app("app = \"a/c\""), "line 4: an app has no member app"),
            (app("listen = \"x\""), "line 4: an app has no member listen"),
            (app("help = true"), "line 4: an app has no member help"),
            (app("max_pixels = 1"), "line 4: max_pixels: invalid value '1'"),
            (app("max_pixels = \"many\""), "line 4: max_pixels: invalid value 'many'"),
            (app("max_pixels = true"), "line 4: max_pixels should be a text or a number"),
            (app("vae = [\"a\", \"b\"]"), "line 4: vae should be a text or a number"),
            (app("low_memory = \"yes\""), "line 4: low_memory should be true or false"),
            (app("allow_lora_hosts = [\"a\"]"), "--allow-lora-urls"),
            (app("allow_lora_hosts = [[\"a\"]]"), "should be a text or a list of texts"),
            (app("taesd = { file = 1 }"), "line 4: taesd should be"),
            (app("").replace("a/b", "no app"), "line 2: name: invalid value 'no app'"),
            (app("").replace("model = \"m\"", ""), "line 1: the app has no model"),
            (app("").replace("name = \"a/b\"", ""), "line 1: the app has no name"),
            (app("") + &app(""), "line 5: the app a/b is there twice"),
            (app("model = \"n\""), "line 4: "),
            ("[app]\nname = \"a/b\"".to_owned(), "line 1: app is not known here"),
            ("port = 1\n".to_owned() + &app(""), "line 1: port is not known here"),
            (String::new(), "it has no app"),
            ("[[app]\n".to_owned(), "line 1: "),
        ] {
            let error = parsed(&text, &[]).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_switch_of_the_command_line_can_be_turned_off() {
        let text = "[[app]]\nname = \"a/b\"\nmodel = \"m\"\nlow_memory = false\n";
        let apps = parsed(text, &["--low-memory"]).unwrap();
        assert!(!apps[0].flags.model.low_memory);
    }
}
