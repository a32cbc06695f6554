//! The manifest: everything a start has to know about one committed epoch. It is the footer of the epoch's object.

use serde::{Deserialize, Serialize};

use super::{Error, Object, Written};

/// Newest manifest format that this build reads, and the one it writes. Format 1 had no keys of operators, format 2 did not
/// say which deletions are forgotten, format 3 not which savepoint the run began from.
pub const MANIFEST_FORMAT: u32 = 4;

/// How a job's processes share its shards. It stands in every commit, and another one there is refused (rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One process owns all shards.
    Alone,
}

impl Mode {
    /// As it stands in manifests and commits.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
        }
    }
}

/// State as of the end of one epoch: files, positions and what is needed to read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`] of the build that wrote it.
    pub format: u32,
    /// The run it belongs to.
    pub run: String,
    /// Id of the savepoint that the run began from, if it did; in formats before 4 only the run's marker says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_from: Option<String>,
    /// How the run's processes share its shards.
    pub mode: Mode,
    /// The epoch that this manifest ends. The first of a run is 1, or follows that of the savepoint that it began from.
    pub epoch: u64,
    /// The attempt that wrote it.
    pub incarnation: String,
    /// Shards of the run, fixed.
    pub shards: u16,
    /// Hash of the plan, as information: shards, and of each keyed operator its id, how it is keyed, and its states.
    pub plan: String,
    /// Operators with state, by the numbers that stand in the keys.
    pub operators: Vec<OperatorState>,
    /// Files that hold the state, oldest first, *without* the object that this manifest is the footer of: it cannot hold
    /// its own checksum. [`Checkpoint::files`] gives them all.
    pub files: Vec<FileRef>,
    /// Deletions up to this epoch may be missing in the files, because merges have dropped them: older state cannot be brought
    /// up by the files behind it (rule 20). In earlier formats all are.
    #[serde(default)]
    pub forgotten_until: u64,
    /// Next record of each split.
    pub splits: Vec<SplitPosition>,
    /// Length of what each file sink had written.
    pub sinks: Vec<SinkPosition>,
}

/// An operator and its states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OperatorState {
    /// Id in the job file.
    pub id: String,
    /// Number in the keys.
    pub number: u16,
    /// How its input is keyed; none in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its states.
    pub states: Vec<StateDescriptor>,
}

/// A declared state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StateDescriptor {
    /// Name that the guest declared.
    pub name: String,
    /// Number in the keys.
    pub number: u16,
    /// What its keys and values look like.
    pub kind: StateKind,
    /// Version that the guest declared.
    pub version: u32,
}

/// What a state holds per key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// One value.
    Value,
    /// Entries by a key of the guest's.
    Map,
}

impl StateKind {
    /// As it stands in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Map => "map",
        }
    }
}

/// An object in the store, with what proves that it is the one meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FileRef {
    /// Name in the store.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// [`Object::checksum`].
    pub checksum: u32,
    /// First epoch whose changes it holds.
    pub first_epoch: u64,
    /// Last epoch whose changes it holds.
    pub last_epoch: u64,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
}

impl FileRef {
    /// The reference to an object with the changes of these epochs.
    #[must_use]
    pub fn to(object: &Object, first_epoch: u64, last_epoch: u64) -> Self {
        Self {
            name: object.name().to_owned(),
            bytes: object.bytes(),
            checksum: object.checksum(),
            first_epoch,
            last_epoch,
            entries: object.entries(),
            tombstones: object.tombstones(),
        }
    }

    /// The reference to an object that was just written under `name`.
    #[must_use]
    pub fn written<W>(name: String, first_epoch: u64, last_epoch: u64, written: &Written<W>) -> Self {
        let &Written { bytes, checksum, entries, tombstones, .. } = written;
        Self { name, bytes, checksum, first_epoch, last_epoch, entries, tombstones }
    }
}

/// Where a split goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SplitPosition {
    /// Id of the source in the job file.
    pub source: String,
    /// Topic, or path of a file.
    pub topic: String,
    /// Partition; 0 where there are none.
    pub partition: i32,
    /// Offset of the first record that the state does not hold.
    pub next: i64,
}

/// How far a file sink's content belongs to the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SinkPosition {
    /// Id of the sink in the job file.
    pub sink: String,
    /// Length in bytes; what lies beyond is cut off.
    pub bytes: u64,
}

impl Manifest {
    /// The footer's bytes.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|source| Error::Encode { what: "checkpoint manifest", source })
    }

    /// Reads the footer of `object`.
    ///
    /// # Errors
    /// [`Error::NewerFormat`] before anything else is looked at, [`Error::Corrupt`] for text that is no manifest.
    pub fn from_json(object: &str, json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| Error::corrupt(object, format!("its manifest cannot be read: {e}"), 0);
        let Format { format } = serde_json::from_slice(json).map_err(unreadable)?;
        if format > MANIFEST_FORMAT {
            return Err(Error::NewerFormat { object: object.to_owned(), found: format, known: MANIFEST_FORMAT });
        }
        let mut manifest: Self = serde_json::from_slice(json).map_err(unreadable)?;
        if format < 3 {
            manifest.forgotten_until = manifest.epoch;
        }
        Ok(manifest)
    }

    /// Whether a run that began from a savepoint would say so here.
    #[must_use]
    pub fn says_how_it_began(&self) -> bool {
        self.format >= 4
    }
}

#[cfg(test)]
impl Manifest {
    /// One for tests: of run `r`, without operators, files and positions.
    pub(super) fn example(epoch: u64) -> Self {
        Self {
            format: MANIFEST_FORMAT,
            run: "r".into(),
            began_from: None,
            mode: Mode::Alone,
            epoch,
            incarnation: "a".into(),
            shards: 4,
            plan: "p".into(),
            operators: vec![],
            files: vec![],
            forgotten_until: 0,
            splits: vec![],
            sinks: vec![],
        }
    }
}

/// A manifest together with the object it is the footer of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The footer.
    pub manifest: Manifest,
    /// The object itself, which holds the changes of the manifest's epoch.
    pub own: FileRef,
}

impl Checkpoint {
    /// Takes the manifest out of an epoch's object.
    ///
    /// # Errors
    /// As [`Manifest::from_json`]; an object without a manifest is [`Error::Corrupt`] too.
    pub fn of(object: &Object) -> Result<Self, Error> {
        if object.manifest().is_empty() {
            return Err(Error::corrupt(object.name(), "it has no manifest", 0));
        }
        let manifest = Manifest::from_json(object.name(), object.manifest())?;
        let own = FileRef::to(object, manifest.epoch, manifest.epoch);
        Ok(Self { manifest, own })
    }

    /// All files of the state, oldest first: the list for the next epoch's manifest and for [`restore`](super::restore).
    /// An object whose epoch changed no state is not among them and needs not outlive the next commit.
    #[must_use]
    pub fn files(&self) -> Vec<FileRef> {
        let own = (self.own.entries > 0).then_some(&self.own);
        self.manifest.files.iter().chain(own).cloned().collect()
    }

    /// Whether the state at epoch `mark` of the same run becomes this one by what the files behind it hold (rule 20).
    #[must_use]
    pub fn brings_up(&self, mark: u64) -> bool {
        (self.manifest.forgotten_until..=self.manifest.epoch).contains(&mark)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::Writer;

    const GOLDEN: &str = concat!(
        r#"{"format":4,"run":"r1","beganFrom":"s1","mode":"alone","epoch":7,"incarnation":"a1","shards":32,"plan":"sha256:00","#,
        r#""operators":[{"id":"count","number":1,"key":"record","states":[{"name":"n","number":0,"kind":"value","version":2}]}],"#,
        r#""files":[{"name":"000000000006-a1-6.ckpt","bytes":99,"checksum":5,"firstEpoch":6,"lastEpoch":6,"entries":3,"tombstones":1}],"forgottenUntil":4,"#,
        r#""splits":[{"source":"in","topic":"words","partition":3,"next":42}],"sinks":[{"sink":"out","bytes":10}]}"#
    );

    #[test]
    fn a_manifest_keeps_its_text() {
        let manifest = Manifest::from_json("o", GOLDEN.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(manifest.to_json().unwrap()).unwrap(), GOLDEN);
    }

    #[test]
    fn manifests_of_earlier_formats_are_still_read_and_the_first_two_bring_nothing_up() {
        let third = GOLDEN.replace(r#""format":4"#, r#""format":3"#).replace(r#""beganFrom":"s1","#, "");
        let second = third.replace(r#""format":3"#, r#""format":2"#).replace(r#""forgottenUntil":4,"#, "");
        let first = second.replace(r#""format":2"#, r#""format":1"#).replace(r#""key":"record","#, "");
        for (format, text, forgotten_until) in [(1, first, 7), (2, second, 7), (3, third, 4)] {
            let manifest = Manifest::from_json("o", text.as_bytes()).unwrap();
            assert_eq!((manifest.format, manifest.forgotten_until, manifest.began_from), (format, forgotten_until, None));
            assert_eq!(manifest.operators.first().unwrap().key.is_none(), format == 1);
        }
    }

    #[test]
    fn a_newer_manifest_is_named_even_if_its_fields_are_unknown() {
        let error = Manifest::from_json("o", br#"{"format":5,"surprise":true}"#).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 5, known: 4, .. }), "{error}");
    }

    #[test]
    fn unknown_fields_and_modes_are_refused() {
        for damaged in [GOLDEN.replace(r#""run""#, r#""ran""#), GOLDEN.replace("alone", "group"), GOLDEN[..40].to_owned()] {
            let error = Manifest::from_json("o", damaged.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn the_epochs_own_object_is_the_newest_file_unless_it_is_empty() {
        for (entries, files) in [(0, 1), (1, 2)] {
            let mut writer = Writer::new("own", Vec::new());
            (0..entries).for_each(|i| writer.append(&[i], None).unwrap());
            let bytes = writer.finish(GOLDEN.as_bytes()).unwrap().sink;
            let object = Object::open("own", super::super::delta::Input::Memory(bytes)).unwrap();
            let checkpoint = Checkpoint::of(&object).unwrap();
            assert_eq!(checkpoint.files().len(), files);
            assert_eq!((checkpoint.own.first_epoch, checkpoint.own.last_epoch), (7, 7));
            let brought_up: Vec<u64> = (0..10).filter(|mark| checkpoint.brings_up(*mark)).collect();
            assert_eq!(brought_up, [4, 5, 6, 7], "rule 20");
        }
    }
}
