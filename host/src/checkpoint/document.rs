//! Small JSON documents at rest. The last field of each is the checksum of all the text before it, so that no bit of it can
//! change unnoticed. Format 1 had none; format 3 came with where a run began.

use super::Error;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Format of the documents that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 3;

/// Stands before the checksum, eight hexadecimal digits, which only `"}` follows.
const FIELD: &str = r#","crc32c":""#;
const END: &str = r#""}"#;
const DIGITS: usize = 8;

/// The bytes of a document, an object whose field `format` is [`FORMAT`].
///
/// # Errors
/// [`Error::Encode`].
pub(super) fn seal(what: &'static str, document: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_string(document).map_err(|source| Error::Encode { what, source })?;
    text.pop();
    let checksum = crc32c::crc32c(text.as_bytes());
    text.push_str(&format!("{FIELD}{checksum:08x}{END}"));
    Ok(text.into_bytes())
}

/// Reads a document with the name `name`.
///
/// # Errors
/// [`Error::NewerFormat`] before anything else is looked at, [`Error::Corrupt`].
pub(super) fn open<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let unreadable = |e: serde_json::Error| Error::corrupt(name, e.to_string(), 0);
    let Format { format: found } = serde_json::from_slice(bytes).map_err(unreadable)?;
    match found {
        1 => serde_json::from_slice(bytes).map_err(unreadable),
        2..=FORMAT => {
            let fields = sealed(bytes).ok_or_else(|| Error::corrupt(name, "it does not have its checksum", 0))?;
            serde_json::from_slice(&[fields, b"}"].concat()).map_err(unreadable)
        }
        _ => Err(Error::NewerFormat { object: name.to_owned(), found, known: FORMAT }),
    }
}

/// What stands before the checksum, if that is right.
fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (rest, digits) = bytes.strip_suffix(END.as_bytes())?.split_last_chunk::<DIGITS>()?;
    let fields = rest.strip_suffix(FIELD.as_bytes())?;
    (format!("{:08x}", crc32c::crc32c(fields)).as_bytes() == digits).then_some(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        format: u32,
        says: String,
    }

    #[test]
    fn the_text_is_frozen_and_no_bit_of_it_changes_unnoticed() {
        let note = Note { format: FORMAT, says: "it".into() };
        let sealed = seal("note", &note).unwrap();
        assert_eq!(String::from_utf8(sealed.clone()).unwrap(), r#"{"format":3,"says":"it","crc32c":"c41cc9d6"}"#);
        assert_eq!(open::<Note>("n", &sealed).unwrap(), note);
        let second = br#"{"format":2,"says":"it","crc32c":"f4cef1b3"}"#;
        assert_eq!(open::<Note>("n", second).unwrap(), Note { format: 2, ..note });
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = open::<Note>("n.json", &flipped).unwrap_err();
            assert!(
                matches!(error, Error::Corrupt { .. } | Error::NewerFormat { .. }) && error.to_string().contains("n.json"),
                "{bit}: {error}"
            );
        }
    }

    #[test]
    fn format_1_is_read_without_a_checksum_and_a_newer_one_is_named() {
        assert_eq!(open::<Note>("n", br#"{"format":1,"says":"it"}"#).unwrap(), Note { format: 1, says: "it".into() });
        assert!(matches!(open::<Note>("n", br#"{"format":4,"new":1}"#), Err(Error::NewerFormat { found: 4, known: FORMAT, .. })));
        for damaged in [&br#"{"format":1,"sa"#[..], br#"{"format":1,"said":"it"}"#, br#"{"format":2,"says":"it"}"#, b""] {
            assert!(matches!(open::<Note>("n", damaged), Err(Error::Corrupt { .. })));
        }
    }
}
