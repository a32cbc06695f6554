//! What a commit says about its checkpoint: one line of ASCII, kept by Kafka with the committed offset (rule 11).

use super::Mode;

/// Kafka keeps no more than this many bytes of metadata with an offset (`offset.metadata.max.bytes`).
pub const MAX_METADATA_BYTES: usize = 4096;

const TAG: &str = "weir";
const VERSION: u32 = 1;

/// The commit's word on run and checkpoint. Its text begins with `weir1;` and is frozen:
/// `weir1;run=R;mode=alone;epoch=7;manifest=NAME;checksum=8 hex digits`, with `empty` in place of the last two while
/// the run has no checkpoint yet, and `;closed` at the end once it has ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitMetadata {
    /// The run.
    pub run: String,
    /// How its processes share the shards.
    pub mode: Mode,
    /// The epoch that the commit ends; 0 for the one that begins the run.
    pub epoch: u64,
    /// The checkpoint; `None` while the run is empty.
    pub manifest: Option<ManifestRef>,
    /// The run has ended: whoever reads this ends too (rule 15).
    pub closed: bool,
}

/// An epoch's object, whose footer is the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRef {
    /// Name in the store.
    pub name: String,
    /// [`Object::checksum`](super::Object::checksum).
    pub checksum: u32,
}

/// Why a text is no commit metadata of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Someone else committed here, or an offset was reset by a tool.
    #[error("the commit's metadata is not Weir's: {found:?}")]
    Foreign {
        /// The text, shortened.
        found: String,
    },
    /// Ours, but of a later release.
    #[error("the commit's metadata has format {found}, this build reads up to {known}")]
    Newer {
        /// Format found.
        found: u32,
        /// Newest format that this build reads.
        known: u32,
    },
    /// Ours, but of a run whose processes share the shards in a way that this build does not know.
    #[error("the commit is of a run in mode {found:?}, which this build does not know")]
    UnknownMode {
        /// The mode found.
        found: String,
    },
    /// Ours by its tag, but unreadable.
    #[error("the commit's metadata cannot be read, at {field:?}: {text:?}")]
    Malformed {
        /// Which field.
        field: &'static str,
        /// The text, shortened.
        text: String,
    },
    /// Too long for Kafka.
    #[error("the commit's metadata would have {bytes} bytes, Kafka keeps {MAX_METADATA_BYTES}: shorten the run's name")]
    TooLong {
        /// Length it would have.
        bytes: usize,
    },
}

impl CommitMetadata {
    /// The commit that begins a run.
    #[must_use]
    pub fn empty(run: &str, mode: Mode) -> Self {
        Self { run: run.to_owned(), mode, epoch: 0, manifest: None, closed: false }
    }

    /// As text: printable ASCII whatever the names hold.
    ///
    /// # Errors
    /// [`MetadataError::TooLong`].
    pub fn encode(&self) -> Result<String, MetadataError> {
        let mut text = format!("{TAG}{VERSION};run={};mode={};epoch={};", escape(&self.run), self.mode.as_str(), self.epoch);
        match &self.manifest {
            Some(manifest) => text += &format!("manifest={};checksum={:08x}", escape(&manifest.name), manifest.checksum),
            None => text += "empty",
        }
        if self.closed {
            text += ";closed";
        }
        if text.len() > MAX_METADATA_BYTES { Err(MetadataError::TooLong { bytes: text.len() }) } else { Ok(text) }
    }

    /// Reads what [`CommitMetadata::encode`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`MetadataError`], except `TooLong`.
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        let mut fields = text.split(';');
        let version = fields.next().and_then(|tag| tag.strip_prefix(TAG)).and_then(|version| version.parse::<u32>().ok());
        match version {
            None | Some(0) => return Err(MetadataError::Foreign { found: shorten(text) }),
            Some(found) if found > VERSION => return Err(MetadataError::Newer { found, known: VERSION }),
            Some(_) => {}
        }
        let malformed = |field| MetadataError::Malformed { field, text: shorten(text) };
        let mut field = |name: &'static str| {
            let value = fields.next().and_then(|field| field.strip_prefix(name)).and_then(|rest| rest.strip_prefix('='));
            value.ok_or_else(|| malformed(name))
        };
        let run = unescape(field("run")?).filter(|run| !run.is_empty()).ok_or_else(|| malformed("run"))?;
        let mode = match field("mode")? {
            "alone" => Mode::Alone,
            other => return Err(MetadataError::UnknownMode { found: shorten(other) }),
        };
        let epoch = field("epoch")?.parse().map_err(|_| malformed("epoch"))?;
        let manifest = match fields.next() {
            Some("empty") => None,
            other => {
                let name = other.and_then(|field| field.strip_prefix("manifest=")).and_then(unescape);
                let name = name.filter(|name| !name.is_empty()).ok_or_else(|| malformed("manifest"))?;
                let checksum = fields.next().and_then(|field| field.strip_prefix("checksum=")).filter(|digits| digits.len() == 8);
                let checksum = checksum.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| malformed("checksum"))?;
                Some(ManifestRef { name, checksum })
            }
        };
        let closed = match (fields.next(), fields.next()) {
            (None, _) => false,
            (Some("closed"), None) => true,
            _ => return Err(malformed("closed")),
        };
        Ok(Self { run, mode, epoch, manifest, closed })
    }
}

/// Percent-encodes all but letters, digits and `-._:/`, so that the separators stay ours.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn full() -> CommitMetadata {
        let manifest = Some(ManifestRef { name: "000000000007-a1-3.ckpt".into(), checksum: 0xbeef });
        CommitMetadata { run: "r1".into(), mode: Mode::Alone, epoch: 7, manifest, closed: false }
    }

    #[test]
    fn the_text_is_frozen() {
        assert_eq!(full().encode().unwrap(), "weir1;run=r1;mode=alone;epoch=7;manifest=000000000007-a1-3.ckpt;checksum=0000beef");
        assert_eq!(CommitMetadata::empty("r1", Mode::Alone).encode().unwrap(), "weir1;run=r1;mode=alone;epoch=0;empty");
        assert!(CommitMetadata { closed: true, ..full() }.encode().unwrap().ends_with(";checksum=0000beef;closed"));
    }

    #[test]
    fn what_is_encoded_is_ascii_and_parses_back() {
        for run in ["r", "a;b=c%d", "größe 名", "x/y:z"] {
            for commit in
                [CommitMetadata { run: run.into(), ..full() }, CommitMetadata { closed: true, ..CommitMetadata::empty(run, Mode::Alone) }]
            {
                let text = commit.encode().unwrap();
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
                assert_eq!(CommitMetadata::parse(&text).unwrap(), commit);
            }
        }
    }

    #[test]
    fn metadata_beyond_what_kafka_keeps_is_refused() {
        let long = CommitMetadata { run: "é".repeat(700), ..full() };
        assert!(matches!(long.encode(), Err(MetadataError::TooLong { bytes: 4097.. })));
    }

    #[test]
    fn foreign_newer_and_damaged_texts_are_told_apart() {
        for foreign in ["", "null", "weir", "weir0;x", "weirx;", "{\"a\":1}"] {
            assert!(matches!(CommitMetadata::parse(foreign), Err(MetadataError::Foreign { .. })), "{foreign}");
        }
        assert_eq!(CommitMetadata::parse("weir2;anything"), Err(MetadataError::Newer { found: 2, known: 1 }));
        let text = full().encode().unwrap();
        let group = CommitMetadata::parse(&text.replace("alone", "group"));
        assert_eq!(group, Err(MetadataError::UnknownMode { found: "group".into() }));
        for damaged in [
            text[..text.len() - 1].to_owned(),
            text.replace("epoch=7", "epoch=-7"),
            text.replace("run=r1", "run="),
            text.replace("run=r1", "run=%zz"),
            format!("{text};closed;more"),
            format!("{text};"),
            "weir1".to_owned(),
        ] {
            assert!(matches!(CommitMetadata::parse(&damaged), Err(MetadataError::Malformed { .. })), "{damaged}");
        }
    }
}
