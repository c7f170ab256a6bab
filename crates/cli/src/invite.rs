//! Where an invite comes from, and making one.

use kith_api::{CreateRoom, Handler as _};
use kith_protocol::Invite;
use kith_protocol::invite::ServerAddr;
use serde::Serialize;

use crate::args::{Global, Secret};
use crate::exit::{Failure, sentence};
use crate::output::Out;
use crate::signals::Stop;
use crate::stdin::{Line, Lines};

/// The environment variable that stands in for an invite: a command line is readable by every
/// user of the machine.
pub const ENV: &str = "KITH_INVITE";

/// An invite that was made here, for programs.
#[derive(Serialize)]
struct Made<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    invite: &'a str,
}

/// `kith invite`.
pub async fn run(
    server: &str,
    global: &Global,
    stop: &mut Stop,
    out: &mut Out,
) -> Result<u8, Failure> {
    let server = server_of(server)?;
    let node = global.start(stop).await?;
    let result = stop
        .or(async {
            let server = server.to_string();
            let made = node.create_room(CreateRoom { server }).await?;
            show(&made.invite, out)
        })
        .await;
    node.shutdown().await;
    result.map(|()| 0)
}

/// Prints an invite that was made here.
pub fn show(invite: &str, out: &mut Out) -> Result<(), Failure> {
    out.line(invite)?;
    let kind = "invite";
    out.object(&Made { kind, invite })
}

/// The invite that was given: as an argument, as the first line of standard input for `-`, or in
/// the environment.
pub async fn given(arg: Option<&Secret>, lines: &mut Lines) -> Result<Invite, Failure> {
    let from_env = || std::env::var(ENV).ok().filter(|v| !v.trim().is_empty());
    match arg.map(|s| s.0.as_str()) {
        Some("-") => match lines.next().await {
            Some(Line::Text(text)) => parse(&text),
            Some(Line::TooLong | Line::NotText) => parse("?"),
            None => Err(Failure::usage(
                "Standard input ended before an invite came.",
            )),
        },
        Some(text) => parse(text),
        None => parse(&from_env().ok_or_else(|| {
            Failure::usage(format!(
                "Give an invite: as an argument, in {ENV}, or as - and then on standard input."
            ))
        })?),
    }
}

/// The room server that was named.
pub fn server_of(text: &str) -> Result<ServerAddr, Failure> {
    ServerAddr::parse(text).map_err(|_| {
        Failure::usage(sentence(&format!(
            "{:?} is not a room server: write it as host, host:port or https://host:port",
            crate::text::name(text)
        )))
    })
}

fn parse(text: &str) -> Result<Invite, Failure> {
    Ok(text.parse::<Invite>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_argument_is_taken_as_it_is() {
        let link = "kith://example.org/j#v1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA";
        let arg = Secret(link.into());
        let invite = given(Some(&arg), &mut Lines::default()).await.unwrap();
        assert_eq!(invite.link(), link);
        let arg = Secret("kith://example.org/j".into());
        let bad = given(Some(&arg), &mut Lines::default()).await.unwrap_err();
        assert_eq!(bad.exit as u8, 3);
    }

    #[test]
    fn a_server_that_is_none_is_a_usage_error() {
        assert_eq!(
            server_of("localhost:7400").unwrap().authority(),
            "localhost:7400"
        );
        let bad = server_of("not a server").unwrap_err();
        assert_eq!(bad.exit as u8, 2);
        assert!(bad.message.contains("not a server") && bad.message.ends_with('.'));
    }
}
