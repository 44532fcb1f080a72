//! What the workbench and the device unit share: soft prefixes, the StackFlow protocol and its client, text comparison, and
//! experiments with their records.
//!
//! [`prefix`] builds a prefix and puts it in front of token rows. [`protocol`] defines the messages, [`client`] exchanges them
//! with a module, [`compare`] measures two outputs against each other, [`search`] proposes prefixes from the results of earlier ones, and
//! [`experiment`] runs plans and saves their results.

#![warn(missing_docs)]

pub mod client;
pub mod compare;
pub mod experiment;
pub mod files;
mod json;
pub mod language;
pub mod prefix;
pub mod protocol;
pub mod search;
pub mod sent;
pub mod time;
