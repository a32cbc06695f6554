//! Why a function could not process a record.

use crate::bindings::Fault;

/// What a function returns: `Ok`, or an error that is about the record or about the whole call.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a function could not process a record, and what is to happen. Any [`std::error::Error`] becomes a reject
/// through `?`. Where a rejected record goes, the operator's `onError` says.
///
/// ```
/// use weir_sdk::{Error, Result};
///
/// fn cents(text: &str) -> Result<u64> {
///     let cents = text.parse()?; // a reject, in the words of ParseIntError
///     if cents > 1_000_000 { Err(Error::reject("more than anybody pays")) } else { Ok(cents) }
/// }
///
/// assert_eq!(cents("12"), Ok(12));
/// assert_eq!(cents("x").unwrap_err().message(), "invalid digit found in string");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reject,
    Failed,
    Retry,
    Fatal,
}

impl Error {
    /// This record is refused for good: what it emitted and wrote is undone, the other records go on.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self { kind: Kind::Reject, message: reason.into() }
    }

    /// The call failed on an unknown record: the host halves the batch until the record is found.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, message: message.into() }
    }

    /// The world outside is not ready: nothing of the batch is kept, the host calls again after a pause.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { kind: Kind::Retry, message: message.into() }
    }

    /// Nothing can help: the job stops.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { kind: Kind::Fatal, message: message.into() }
    }

    /// The text given at construction.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The reason of a reject, or the fault that ends the call.
    pub(crate) fn into_reject(self) -> Result<String, Fault> {
        match self.kind {
            Kind::Reject => Ok(self.message),
            Kind::Failed => Err(Fault::Failed(self.message)),
            Kind::Retry => Err(Fault::Retry(self.message)),
            Kind::Fatal => Err(Fault::Fatal(self.message)),
        }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::reject(error.to_string())
    }
}
