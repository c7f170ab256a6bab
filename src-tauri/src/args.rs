//! The command line.

use std::fmt;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::FalseyValueParser;

/// The window of Kith: rooms, messages and files straight between people.
#[derive(Debug, Parser)]
#[command(name = "kith-desktop", version)]
pub struct Args {
    /// An invite to open
    #[arg(value_name = "INVITE")]
    pub invite: Option<Link>,
    /// Folder of the profile; with it, a second window of another profile may run
    #[arg(long, env = "KITH_HOME", hide_env_values = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Connect also over loopback addresses: for two windows on one machine
    #[arg(
        long,
        env = "KITH_LOOPBACK",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub loopback: bool,
}

/// An invite, which no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Link(pub String);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(…)")
    }
}

impl From<String> for Link {
    fn from(text: String) -> Self {
        Link(text)
    }
}

/// The invite in the arguments of another start of the app.
pub fn invite_in(argv: &[String]) -> Option<Link> {
    Args::try_parse_from(argv).ok()?.invite
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn an_invite_is_found_and_never_logged() {
        let argv = ["kith-desktop", "kith://a/j#v1.s.i"].map(str::to_owned);
        let found = invite_in(&argv).expect("there is one");
        assert_eq!(found.0, "kith://a/j#v1.s.i");
        assert_eq!(format!("{found:?}"), "Link(…)");
        assert_eq!(invite_in(&argv[..1]), None);
    }
}
