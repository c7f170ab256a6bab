//! What crosses the UI boundary: commands, snapshot and events.
//!
//! A front end hydrates once from a [`Snapshot`], then applies [`Event`]s: each carries one whole
//! entity, or says that one is gone. Revisions rise by one; a gap means hydrate again. Across a
//! slow boundary the events travel as [`Changes`], merged. What the user may do now stands in the
//! views (`can`): a front end never works out legality itself.
//!
//! Front ends call [`Handler`], which one list of commands generates; a window also has a
//! [`Shell`] around it. Their TypeScript forms in `ui/src/lib/api/generated` are written by the
//! tests of this crate.

mod command;
mod fold;
mod js;
mod shell;
#[cfg(test)]
mod typescript;
mod view;

pub use command::*;
pub use fold::*;
pub use js::MAX_SAFE;
pub use shell::*;
pub use view::*;

use kith_protocol::Code;
use serde::{Deserialize, Serialize};

/// Why a command was refused. The command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ApiError {
    /// For programs.
    pub code: Code,
    /// For people: one sentence that says what to do.
    pub message: String,
}

impl ApiError {
    /// An error with the standard text of its code.
    pub fn new(code: Code) -> Self {
        ApiError {
            code,
            message: code.text().to_string(),
        }
    }

    /// An error with a text of its own.
    pub fn with(code: Code, message: impl Into<String>) -> Self {
        ApiError {
            code,
            message: message.into(),
        }
    }
}
