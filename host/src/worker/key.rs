//! The key of a record at a keyed edge.

/// Longest key at a keyed edge, in bytes.
pub(super) const MAX_KEY: usize = 1024;

/// How records get their key at a keyed edge.
pub(super) enum KeyBy {
    /// The key that they have.
    Record,
    /// A field of the JSON value: its text for a string, its JSON text for what is no string.
    Json(Vec<String>),
}

impl KeyBy {
    pub fn new(key: &weir_spec::Key) -> Self {
        match key {
            weir_spec::Key::Record => Self::Record,
            weir_spec::Key::Json(path) => Self::Json(path.split('.').map(str::to_owned).collect()),
        }
    }
}
