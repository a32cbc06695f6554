//! What is wrong with a job, where it stands, and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// A job file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the job file {}: {source}", path.display())]
    Read {
        /// The file as it was named by the caller.
        path: PathBuf,
        /// Why it could not be read.
        source: std::io::Error,
    },
    /// The file was read, and is no valid job.
    #[error("{}", report(file, problems))]
    Invalid {
        /// The name shown in front of each position.
        file: String,
        /// Every problem found, in the file's order; never empty.
        problems: Vec<Problem>,
    },
}

fn report(file: &str, problems: &[Problem]) -> String {
    let blocks: Vec<String> = problems
        .iter()
        .map(|problem| match problem.position {
            Some(position) => format!("{file}:{position}: {problem}"),
            None => format!("{file}: {problem}"),
        })
        .collect();
    blocks.join("\n")
}

/// One thing that is wrong. Displays as `path: message`, followed by indented lines `found`, `valid` and `help`,
/// each only where it says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The field that is wrong; empty for the document as a whole.
    pub path: FieldPath,
    /// Where that field stands; absent when the job did not come from a file.
    pub position: Option<Position>,
    /// What is wrong, without the path.
    pub message: String,
    /// The offending scalar, quoted and cut to a readable length. Never a value that may be a secret.
    pub found: Option<String>,
    /// The names or values allowed in its place.
    pub valid: Vec<String>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn new(path: FieldPath, message: impl Into<String>) -> Self {
        Self { path, position: None, message: message.into(), found: None, valid: Vec::new(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn valid<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.valid = names.into_iter().map(Into::into).collect();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(found) = &self.found {
            write!(f, "\n  found: {found}")?;
        }
        if !self.valid.is_empty() {
            write!(f, "\n  valid: {}", self.valid.join(", "))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

/// A place in the job file. Displays as `line:column`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The way from the document's root to a field, such as `spec.operators[1].onError`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(Vec<Segment>);

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field of a map.
    Field(String),
    /// An element of a list, from 0.
    Index(usize),
}

impl FieldPath {
    pub(crate) fn field(&self, name: impl Into<String>) -> Self {
        self.join(Segment::Field(name.into()))
    }

    pub(crate) fn index(&self, index: usize) -> Self {
        self.join(Segment::Index(index))
    }

    fn join(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    pub(crate) fn prepend(&mut self, segment: Segment) {
        self.0.insert(0, segment);
    }

    /// The steps, outermost first.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether this is the document itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Field(name) if is_plain(name) && depth == 0 => f.write_str(name)?,
                Segment::Field(name) if is_plain(name) => write!(f, ".{name}")?,
                Segment::Field(name) => write!(f, "[\"{}\"]", printable(name))?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// `text` in backquotes, safe for a terminal and cut to a readable length.
pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", printable(text))
}

fn printable(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).collect::<String>().escape_debug().to_string();
    // Debug escapes quotes too, which would no longer be what the user wrote.
    shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

/// The candidate that `name` was most likely meant to be: `, did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let folded = fold(name);
    let allowed = (folded.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!(", did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// Spelling apart from case and word separators, so that `start_position` is near `startPosition`.
fn fold(name: &str) -> String {
    name.chars().take(256).filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}
