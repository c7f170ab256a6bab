//! Writes what the window's TypeScript stands on, and fails where the committed files differ.
//!
//! `UPDATE_GOLDEN=1 cargo test -p kith-api` writes them anew.

mod fixtures;

use std::fmt::Write as _;
use std::path::PathBuf;

use kith_protocol::{Code, MsgId, OfferId, PeerId, RoomId};
use ts_rs::{Config, TS};

use crate::*;

#[test]
fn the_types_of_the_window_are_those_of_the_engine() {
    golden("api.ts", &types());
}

#[test]
fn the_texts_of_codes_are_those_of_the_engine() {
    let mut out = String::from(HEAD);
    out.push_str("import type { Code } from './api';\n\n");
    out.push_str("/** What happened and what to do, for people. */\n");
    out.push_str("export const CODE_TEXTS: Readonly<Record<Code, string>> = {\n");
    for code in Code::ALL {
        let text = serde_json::to_string(code.text()).unwrap();
        writeln!(out, "  {:?}: {text},", code.name()).unwrap();
    }
    out.push_str("};\n");
    golden("codes.ts", &out);
}

#[test]
fn no_number_is_beyond_what_javascript_holds() {
    let worst = serde_json::to_value(fixtures::hostile()).unwrap();
    fn walk(value: &serde_json::Value) -> u64 {
        match value {
            serde_json::Value::Number(n) => {
                let n = n.as_u64().expect("only whole numbers here");
                assert!(n <= MAX_SAFE, "{n}");
                u64::from(n == MAX_SAFE)
            }
            serde_json::Value::Array(list) => list.iter().map(walk).sum(),
            serde_json::Value::Object(map) => map.values().map(walk).sum(),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {
                0
            }
        }
    }
    assert!(walk(&worst) > 10, "the hostile numbers were there");
}

#[test]
fn what_is_pushed_looks_as_the_window_reads_it() {
    let changes = Changes {
        after: 1,
        rev: 2,
        changes: Vec::new(),
    };
    let paths = vec!["/a".to_string()];
    for (push, want) in [
        (
            Push::Changes(changes),
            r#"{"type":"changes","after":1,"rev":2,"changes":[]}"#,
        ),
        (Push::Drag(Drag::Left), r#"{"type":"drag","at":"left"}"#),
        (
            Push::Drag(Drag::Dropped {
                x: 1.5,
                y: 2.0,
                paths,
            }),
            r#"{"type":"drag","at":"dropped","x":1.5,"y":2.0,"paths":["/a"]}"#,
        ),
    ] {
        let json = serde_json::to_string(&push).unwrap();
        assert_eq!(json, want);
        assert_eq!(serde_json::from_str::<Push>(&json).unwrap(), push);
    }
}

const HEAD: &str = "// Written by the tests of crates/api; not by hand.\n\n";

fn types() -> String {
    // See `js` for why these are plain numbers.
    let cfg = Config::new().with_large_int("number");
    let mut out = String::from(HEAD);
    macro_rules! declare {
        ($($t:ty),* $(,)?) => {$(
            let docs = <$t as TS>::docs().unwrap_or_default();
            writeln!(out, "{}export {}\n", docs, <$t as TS>::decl(&cfg)).unwrap();
        )*};
    }
    declare!(
        RoomId,
        PeerId,
        OfferId,
        MsgId,
        Code,
        ApiError,
        Me,
        Snapshot,
        Change,
        Changes,
        RoomView,
        SessionPhase,
        PersonView,
        Presence,
        LinkPhase,
        Route,
        MessageView,
        Cursor,
        OfferView,
        Paused,
        FileView,
        FetchPhase,
        ReceiverView,
        ServePhase,
        Traffic,
        OfferAction,
        TransferSettings,
        AcceptPolicy,
        Empty,
        CreateRoom,
        Created,
        JoinRoom,
        Joined,
        RoomRef,
        SendText,
        Sent,
        OfferFiles,
        Strategy,
        Offered,
        OfferRef,
        Accept,
        Withdraw,
        TransferRef,
        Reorder,
        Limit,
        HistoryPage,
        History,
        Rename,
        Settings,
        Theme,
        Picked,
        Leftovers,
        LeftoverFolder,
        Push,
        Drag,
    );
    out.push_str("/** Every command by name: the engine's, then the app's around it. */\n");
    out.push_str("export interface Commands {\n");
    let all = command_types(&cfg).into_iter().chain(shell_types(&cfg));
    for (name, request, reply) in all {
        writeln!(out, "  {name}: {{ request: {request}; reply: {reply} }};").unwrap();
    }
    out.push_str("}\n");
    out
}

fn golden(name: &str, text: &str) {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../ui/src/lib/api/generated"
    );
    let path = PathBuf::from(folder).join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{name} is stale: run UPDATE_GOLDEN=1 cargo test -p kith-api"
    );
}
