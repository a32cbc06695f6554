//! What can be emitted as a key, value or header, and JSON.

use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Display;
use std::io::Write;

/// Bytes of an output: anything that is a byte slice, [`Json`] or [`Text`].
pub trait Payload {
    /// Appends the bytes to `out`.
    ///
    /// # Errors
    /// When there is no such encoding; the record is then rejected.
    fn append(self, out: &mut Vec<u8>) -> Result;
}

impl<T: AsRef<[u8]>> Payload for T {
    #[inline]
    fn append(self, out: &mut Vec<u8>) -> Result {
        out.extend_from_slice(self.as_ref());
        Ok(())
    }
}

/// A value as JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> Payload for Json<T> {
    fn append(self, out: &mut Vec<u8>) -> Result {
        Ok(serde_json::to_writer(out, &self.0)?)
    }
}

/// A value as its [`Display`] text, written in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: Display> Payload for Text<T> {
    fn append(self, out: &mut Vec<u8>) -> Result {
        Ok(write!(out, "{}", self.0)?)
    }
}

/// The operator's configuration as a type of the function. A job without one counts as `{}`.
///
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     contains: String,
///     #[serde(default)]
///     limit: Option<u64>,
/// }
///
/// let config: Config = weir_sdk::config(r#"{"contains": "cat"}"#)?;
/// assert_eq!((config.contains.as_str(), config.limit), ("cat", None));
/// assert!(weir_sdk::config::<Config>("{}").is_err()); // the job is refused: contains is missing
/// # Ok::<(), weir_sdk::Error>(())
/// ```
///
/// # Errors
/// When the configuration does not have that shape: the job is refused with the place and the reason.
pub fn config<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::fatal(format!("config: {error}")))
}
