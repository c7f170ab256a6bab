//! The values: a version byte, then JSON for records (it keeps its readers when fields are
//! added), or fixed-width numbers where records are many and small.

use std::collections::BTreeSet;

use kith_core::record::{FetchKey, FetchRecord, Hold};
use kith_protocol::peer::Entry;
use kith_protocol::ranges::RangeSet;
use kith_protocol::voucher::Voucher;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Result, StoreError};
use crate::seal::Identity;

/// The shape of values, byte 0 of each.
const VERSION: u8 = 1;

/// A record as a value.
pub(super) fn value<T: Serialize>(record: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    serde_json::to_writer(&mut out, record).expect("records hold nothing JSON cannot carry");
    out
}

/// A value as a record; `what` names it in the error.
pub(super) fn record<T: DeserializeOwned>(value: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body(value, what)?)
        .map_err(|e| StoreError::broken(format!("{what}: {e}")))
}

/// A number as a value.
pub(super) fn number_value(n: u64) -> Vec<u8> {
    [&[VERSION][..], &n.to_be_bytes()].concat()
}

/// A value as a number.
pub(super) fn number(value: &[u8], what: &str) -> Result<u64> {
    body(value, what)?
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::broken(format!("{what}: wrong length")))
}

/// Ranges as a value: pairs of numbers. Not the wire form, which has a bound on their count.
pub(super) fn ranges_value(set: &RangeSet) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + set.ranges().len() * 16);
    out.push(VERSION);
    for (first, end) in set.ranges() {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&end.to_be_bytes());
    }
    out
}

/// A value as ranges.
pub(super) fn ranges(value: &[u8]) -> Result<RangeSet> {
    let wrong = || StoreError::broken("ranges: malformed");
    let (numbers, rest) = body(value, "ranges")?.as_chunks::<8>();
    let (pairs, odd) = numbers.as_chunks::<2>();
    if !rest.is_empty() || !odd.is_empty() {
        return Err(wrong());
    }
    let pairs = pairs
        .iter()
        .map(|[a, b]| (u64::from_be_bytes(*a), u64::from_be_bytes(*b)))
        .collect();
    RangeSet::from_sorted(pairs).ok_or_else(wrong)
}

/// An identity as a value.
pub(super) fn identity_value(me: &Identity) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&[VERSION][..], me.secret_bytes().as_slice()].concat())
}

/// A value as an identity.
pub(super) fn identity(value: &[u8]) -> Result<Identity> {
    let secret = body(value, "identity")?
        .try_into()
        .map_err(|_| StoreError::broken("identity: wrong length"))?;
    Ok(Identity::from_secret_bytes(secret))
}

/// A fetch without its manifest.
#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct FetchHead {
    key: FetchKey,
    pub(super) dir: String,
    pub(super) tag: String,
    name: String,
    roots: Vec<(String, String)>,
    #[serde(default)]
    hold: Hold,
    #[serde(default)]
    voucher: Option<Box<Voucher>>,
    #[serde(default)]
    adopted: BTreeSet<u32>,
}

impl FetchHead {
    pub(super) fn of(record: &FetchRecord) -> Self {
        FetchHead {
            key: record.key,
            dir: record.dir.clone(),
            tag: record.tag.clone(),
            name: record.name.clone(),
            roots: record.roots.clone(),
            hold: record.hold,
            voucher: record.voucher.clone(),
            adopted: record.adopted.clone(),
        }
    }

    pub(super) fn with(self, entries: Vec<Entry>) -> FetchRecord {
        FetchRecord {
            key: self.key,
            dir: self.dir,
            tag: self.tag,
            name: self.name,
            entries: entries.into(),
            roots: self.roots,
            // An earlier life may have been at it.
            begun: true,
            hold: self.hold,
            voucher: self.voucher,
            adopted: self.adopted,
        }
    }
}

fn body<'a>(value: &'a [u8], what: &str) -> Result<&'a [u8]> {
    match value.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((version, _)) => Err(StoreError::broken(format!("{what}: version {version}"))),
        None => Err(StoreError::broken(format!("{what}: empty"))),
    }
}
