//! Every decision of Kith, without IO.

pub mod record;
pub mod time;
