//! The command line.

use std::fmt;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use kith_api::Strategy;
use kith_peer::node::{Node, NodeConfig, profile_home};
use kith_protocol::PeerId;

use crate::exit::{Failure, TABLE};
use crate::room_server::ServerArgs;
use crate::signals::Stop;

const EXAMPLES: &str = "\
Examples:
  Make a room, and talk in it from two machines:
    kith invite --server kith.example.org
    kith join 'kith://kith.example.org/j#v1.…'

  Send a folder to whoever has the invite:
    kith send --server kith.example.org holiday/
    kith receive 'kith://kith.example.org/j#v1.…' --into ~/Downloads

  Keep the invite out of the list of processes and of the shell's history:
    KITH_INVITE=\"$(cat invite.txt)\" kith join
    kith receive - --into ~/Downloads --yes < invite.txt

  Run a room server of your own:
    kith room-server --listen 0.0.0.0:7400 --public-origin kith.example.org";

const ENVIRONMENT: &str = "\
Environment:
  KITH_HOME      folder of the profile, as --home
  KITH_INVITE    the invite, where none is given
  KITH_SERVER    the room server of `kith send` and `kith invite`, as --server
  KITH_LOG       what to log, as in \"kith=debug\"; logs go to stderr
  KITH_LOOPBACK  1: connect also over loopback addresses, as --loopback

With --json every line on stdout is one JSON object with a \"type\": room, room-gone, person,
message, offer, invite, sent, skipped, command, part, listening, and at the end summary, after an
error if there was one. A transfer that is paused or blocked says so, and by whom, in its offer.";

const SEND_NOTES: &str = "\
The paths are checked before anything else happens. The transfer goes straight from this machine
to the receivers; the room server only introduces them. It ends when enough receivers have
everything, checked, and nobody is half-way. Started again with the same files, it goes on from
where it stopped.

COMMANDS

Examples:
  kith send --server kith.example.org report.pdf photos/
  kith send --to 'kith://kith.example.org/j#v1.…' --receivers 3 report.pdf";

const RECEIVE_NOTES: &str = "\
Files get their names only when they are complete and checked. What was interrupted goes on from
where it stopped when the same command is run again.

COMMANDS

Examples:
  kith receive 'kith://kith.example.org/j#v1.…' --into ~/Downloads
  kith receive - --into /srv/incoming --yes --stay < invite.txt";

const JOIN_NOTES: &str = "\
Each line of standard input is a message. The last messages of the room come first. Messages
reach also those who are away now, when they come back.

COMMANDS
A message that begins with / is written with two of them there.

Examples:
  kith join 'kith://kith.example.org/j#v1.…'
  echo 'The build is done.' | kith join \"$INVITE\" --until-delivered";

const INVITE_NOTES: &str = "\
The invite is the key of its room: whoever has it can enter. Its secret is made on this machine
and never reaches the room server.

Example:
  kith invite --server kith.example.org > invite.txt";

const PARTS_NOTES: &str = "\
Such files are left where a profile was lost, or a transfer begun anew into another folder. A
transfer of the same file into the same folder goes on from them by itself, so remove those that
will not come again. Files of another profile are listed too, unless they are being received.

Examples:
  kith parts ~/Downloads
  kith parts ~/Downloads --remove";

const SERVER_NOTES: &str = "\
The first line on stdout is the address it listens on. Stopped by Ctrl-C or SIGTERM it tells its
clients, and returns 0.

Example:
  kith room-server --listen 0.0.0.0:7400";

/// Notes with what can be typed while the command runs.
fn with_commands(notes: &str) -> String {
    let commands = format!(
        "On a terminal, or with --commands, lines of standard input that begin with / are commands:\n{}",
        crate::control::HELP
    );
    notes.replace("COMMANDS", &commands)
}

/// Talk and send files straight from one computer to another.
///
/// Two people who hold the same invite meet in its room. The room server introduces them and reads
/// nothing; messages and files then go from one to the other, encrypted all the way.
#[derive(Debug, Parser)]
#[command(
    name = "kith",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = format!("{TABLE}\n\nSee `kith --help` for examples, and `kith COMMAND --help` for each command."),
    after_long_help = format!("{EXAMPLES}\n\n{TABLE}\n\n{ENVIRONMENT}")
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Folder of the profile: identity, rooms and history
    ///
    /// Made if missing; `$XDG_DATA_HOME/kith` or `~/.local/share/kith` unless given. Two commands
    /// at the same time need a profile each.
    #[arg(
        long,
        global = true,
        env = "KITH_HOME",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub home: Option<PathBuf>,
    /// Your name, as others see it; kept in the profile
    #[arg(long, global = true, value_name = "NAME")]
    pub name: Option<String>,
    /// Write one JSON object per line to stdout, and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Log to stderr; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Connect also over loopback addresses: for two peers on one machine
    #[arg(
        long,
        global = true,
        env = "KITH_LOOPBACK",
        hide_env_values = true,
        hide_short_help = true,
        value_parser = FalseyValueParser::new()
    )]
    pub loopback: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a room and print the invite to it
    #[command(after_help = INVITE_NOTES)]
    Invite {
        /// The room server: host, host:port or a URL
        #[arg(long, env = "KITH_SERVER", hide_env_values = true, value_name = "URL")]
        server: String,
    },
    /// Talk in a room
    #[command(after_help = with_commands(JOIN_NOTES))]
    Join(Join),
    /// Send files and folders
    #[command(after_help = with_commands(SEND_NOTES))]
    Send(Send),
    /// Receive what others in a room send
    #[command(after_help = with_commands(RECEIVE_NOTES))]
    Receive(Receive),
    /// List unfinished files that belong to no transfer, or remove them
    #[command(after_help = PARTS_NOTES)]
    Parts(Parts),
    /// Run a room server
    #[command(after_help = SERVER_NOTES)]
    RoomServer(Box<ServerArgs>),
}

/// Options of `kith join`.
#[derive(Debug, Args)]
pub struct Join {
    /// The invite; - reads it from the first line of stdin [env: KITH_INVITE]
    #[arg(value_name = "INVITE")]
    pub invite: Option<Secret>,
    /// End once every message of yours has reached everybody who is connected
    #[arg(long)]
    pub until_delivered: bool,
    #[command(flatten)]
    pub control: Control,
}

/// The option of all that can be told something while they run.
#[derive(Debug, Args)]
pub struct Control {
    /// Take commands from stdin although it is no terminal; see below
    #[arg(long)]
    pub commands: bool,
}

/// Options of `kith send`.
#[derive(Debug, Args)]
pub struct Send {
    /// What to send
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Send in the room of this invite; - reads it from the first line of stdin [env: KITH_INVITE]
    #[arg(long, value_name = "INVITE", conflicts_with = "server")]
    pub to: Option<Secret>,
    /// Make a room on this room server and print the invite [env: KITH_SERVER]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// How many must have received everything before this ends
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub receivers: u32,
    /// How several receivers are served
    #[arg(long, value_name = "HOW", value_enum, default_value_t = How::Auto)]
    pub strategy: How,
    /// Send so much per second at most, to all receivers together: 500k, 20M
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub limit: Option<u64>,
    /// A word to go with the files
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    #[command(flatten)]
    pub control: Control,
}

/// How several receivers are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum How {
    /// A swarm for three or more, else all at once
    Auto,
    /// One after the other
    Sequential,
    /// All at once
    Parallel,
    /// All at once, each a part; they fetch the rest from each other
    Swarm,
}

impl How {
    /// As the engine takes it. So many receivers are expected, though not all may be there when
    /// the first one accepts.
    pub fn of(self, receivers: u32) -> Option<Strategy> {
        match self {
            How::Auto if receivers >= 3 => Some(Strategy::Swarm),
            How::Auto => None,
            How::Sequential => Some(Strategy::Sequential),
            How::Parallel => Some(Strategy::Parallel),
            How::Swarm => Some(Strategy::Swarm),
        }
    }
}

/// Options of `kith receive`.
#[derive(Debug, Args)]
pub struct Receive {
    /// The invite; - reads it from the first line of stdin [env: KITH_INVITE]
    #[arg(value_name = "INVITE")]
    pub invite: Option<Secret>,
    /// Folder to write into; made if missing
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Take everything that is offered, without asking
    #[arg(long)]
    pub yes: bool,
    /// Go on after the first files are complete, until interrupted
    #[arg(long)]
    pub stay: bool,
    /// Take what this person offers, by the id that --json shows, without asking
    #[arg(long, value_name = "PEER", value_parser = peer)]
    pub accept_from: Vec<PeerId>,
    /// Take without asking only offers of so many bytes at most: 500M, 20G
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub accept_most: Option<u64>,
    /// Fetch so much per second at most, each offer for itself: 500k, 20M
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub limit: Option<u64>,
    /// Wait when the disk is full or cannot be written, and go on when it can
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub control: Control,
}

/// Options of `kith parts`.
#[derive(Debug, Args)]
pub struct Parts {
    /// Where to look, with all folders below; else where this profile has received files
    #[arg(value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Remove them, after a question
    #[arg(long)]
    pub remove: bool,
    /// Remove without asking
    #[arg(long, requires = "remove")]
    pub yes: bool,
}

/// `500`, `500k`, `20M`, `3G`, `1T`: bytes, in decimal units.
fn size(text: &str) -> Result<u64, String> {
    let units = [
        ('k', 1_000),
        ('M', 1_000_000),
        ('G', 1_000_000_000),
        ('T', 1_000_000_000_000),
    ];
    let unit = units
        .iter()
        .find(|(c, _)| text.ends_with([*c, c.to_ascii_lowercase()]));
    let (number, unit) = match unit {
        Some((_, unit)) => (&text[..text.len() - 1], *unit),
        None => (text, 1),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write it as in 500k, 20M or 3G")?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "that is too much".to_owned())
}

/// The same, as much as a transfer may be bounded by.
pub fn rate(text: &str) -> Result<u64, String> {
    let least = kith_protocol::limits::MIN_PACE;
    let rate = size(text)?;
    match rate >= least {
        true => Ok(rate),
        false => Err(format!("allow at least {least} bytes per second")),
    }
}

fn peer(text: &str) -> Result<PeerId, String> {
    text.parse()
        .map_err(|_| "this is not the id of a person".to_owned())
}

/// A word of the command line that no log may show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl Global {
    /// Opens the profile and starts the engine.
    pub async fn start(&self, stop: &mut Stop) -> Result<Node, Failure> {
        let home = profile_home(self.home.clone());
        let config = NodeConfig {
            home: home.ok_or_else(|| Failure::usage("Say where the profile is: --home DIR."))?,
            name: self.name.clone(),
            rejoin: false,
            include_loopback: self.loopback,
        };
        stop.or(async { Ok(Node::start(config).await?) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_in_decimal_units() {
        for (text, want) in [
            ("0", 0),
            ("500k", 500_000),
            ("20M", 20_000_000),
            ("3g", 3_000_000_000),
        ] {
            assert_eq!(size(text), Ok(want), "{text}");
        }
        for bad in ["", "k", "-1", "1.5M", "20MB", "99999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(rate("1023").is_err() && rate("1024").is_ok());
    }

    #[test]
    fn no_log_shows_an_invite() {
        let cli = Cli::try_parse_from(["kith", "join", "kith://a/j#v1.s.i"]).unwrap();
        assert!(!format!("{cli:?}").contains("v1"));
    }
}
