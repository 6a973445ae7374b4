//! The settings of one app: flags of the command line, or an entry of the fleet file.

use std::ffi::OsString;

use clap::{ArgMatches, Args as _, Command, builder::Resettable, parser::ValueSource};
use glimpse_worker::{
    config::{FleetConfig, ModelConfig},
    picture_hook::PictureHookFlags,
    recipes::MetadataConfig,
};

/// The flags that each app of a process may set for itself.
#[derive(Debug, Clone, clap::Args)]
pub struct AppFlags {
    #[command(flatten)]
    pub model: ModelConfig,
    #[command(flatten)]
    pub fleet: FleetConfig,
    #[command(flatten)]
    pub hook: PictureHookFlags,
    #[command(flatten)]
    pub metadata: MetadataConfig,
}

/// The same flags from the command line and the environment. They are the defaults of the apps in a fleet file.
#[derive(Debug, Clone)]
pub struct Given {
    pub flags: AppFlags,
    /// Each flag that was given: its name, and the whole argument.
    pub args: Vec<(String, OsString)>,
}

/// The flags alone, without the environment.
pub fn command() -> Command {
    AppFlags::augment_args(Command::new("app"))
        .no_binary_name(true)
        .disable_help_flag(true)
        .mut_args(|arg| arg.env(Resettable::Reset))
}

impl Given {
    /// Reads what was given, before the values are taken out of `matches`.
    fn args_of(matches: &ArgMatches) -> Vec<(String, OsString)> {
        let mut given = Vec::new();
        for arg in command().get_arguments() {
            let (id, Some(name)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
            let source = matches.value_source(id);
            if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
                continue;
            }
            if arg.get_action().takes_values() {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let mut flag = OsString::from(format!("--{name}="));
                    flag.push(value);
                    given.push((name.to_owned(), flag));
                }
            } else if matches.get_flag(id) {
                given.push((name.to_owned(), format!("--{name}").into()));
            }
        }
        given
    }
}

impl clap::FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        let args = Self::args_of(matches);
        Ok(Self { flags: AppFlags::from_arg_matches_mut(matches)?, args })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        AppFlags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        AppFlags::augment_args_for_update(command)
    }
}
