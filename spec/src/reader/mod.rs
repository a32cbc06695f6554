//! From YAML text to a validated job, with a position for whatever is wrong.
//!
//! The text is read once into a tree of located values (`tree`), under bounds on depth, size and aliases. The tree is
//! then deserialised into the job's types (`de`), and the job validated. Both of these report a [`FieldPath`]; the
//! tree knows where that path stands in the text.

mod de;
mod tree;

use std::path::Path;

use serde::Deserialize;

use crate::problem::{Error, FieldPath, Position, Problem, Segment};
use crate::{Job, properties};
use tree::Node;

/// Far beyond any job a person or a generator writes, small enough to refuse a file named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the job file at `path`, and validates it.
///
/// # Errors
/// The file cannot be read, is larger than 1 MiB, or is no valid job.
pub fn read(path: &Path) -> Result<Job, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    let file = path.display().to_string();
    if size > MAX_BYTES {
        return Err(Error::Invalid { file, problems: vec![too_large(size)] });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &file)
}

/// Reads a job from YAML text, and validates it. `file_name` is what errors call the text.
///
/// # Errors
/// The text is larger than 1 MiB, or is no valid job.
pub fn parse(text: &str, file_name: &str) -> Result<Job, Error> {
    let invalid = |problems| Error::Invalid { file: file_name.to_owned(), problems };
    if text.len() as u64 > MAX_BYTES {
        return Err(invalid(vec![too_large(text.len() as u64)]));
    }
    let tree = Node::parse(text).map_err(|problem| invalid(vec![*problem]))?;
    let job = Job::deserialize(&tree).map_err(|fault| invalid(vec![placed(fault.into_problem(), &tree)]))?;
    match job.validate() {
        Ok(()) => Ok(job),
        Err(problems) => {
            let mut problems: Vec<_> = problems.into_iter().map(|problem| placed(problem, &tree)).collect();
            problems.sort_by_key(|problem| problem.position);
            Err(invalid(problems))
        }
    }
}

fn too_large(size: u64) -> Problem {
    Problem::new(FieldPath::default(), format!("the file has {size} bytes, and a job file at most {MAX_BYTES}"))
}

/// Adds where the problem's field stands, and the value there when it is safe to show and not yet in the message.
fn placed(mut problem: Problem, tree: &Node) -> Problem {
    let place = tree.locate(&problem.path);
    problem.position = Some(place.position);
    if let Some(node) = place.node
        && !may_be_secret(&problem.path)
    {
        problem.found = node.scalar().filter(|found| !problem.message.contains(found.as_str()));
    }
    problem
}

/// A literal secret is what some of these errors are about, and a misspelt or misplaced field may hold one.
fn may_be_secret(path: &FieldPath) -> bool {
    path.segments().iter().any(|segment| match segment {
        Segment::Field(name) if matches!(name.as_str(), "key" | "keyed" | "keys") => false,
        Segment::Field(name) => name == "properties" || name.contains('.') || properties::is_secret(name),
        Segment::Index(_) => false,
    })
}
