//! Keeps the lines that contain a text, in upper case (ASCII letters). Written with wit-bindgen alone, over columns.
//!
//! Configuration: `contains`, the text. A record with a null value is dropped.

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, clippy::indexing_slicing)]
    wit_bindgen::generate!({ world: "transform", path: "../../wit" });
    #[cfg(target_arch = "wasm32")]
    export!(Component with_types_in self);
    #[cfg(target_arch = "wasm32")]
    use super::FilterMap as Component;
}

use bindings::exports::weir::operator::transform_function::Guest;
use bindings::weir::operator::columns::{Batch, Column, Fault, Output};
use serde::Deserialize;
use std::sync::OnceLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    contains: String,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// The function.
pub struct FilterMap;

impl Guest for FilterMap {
    fn init(config: String) -> Result<(), String> {
        let config: Config = serde_json::from_str(&config).map_err(|error| format!("config: {error}"))?;
        if config.contains.is_empty() {
            return Err("config: contains must not be empty".to_owned());
        }
        CONFIG.set(config).map_err(|_| "init was called twice".to_owned())
    }

    fn process(records: Batch) -> Result<Output, Fault> {
        let config = CONFIG.get().ok_or_else(|| Fault::Fatal("process was called before init".to_owned()))?;
        Ok(filter_map(&records.values, config.contains.as_bytes()))
    }
}

/// A null has no bytes and so never contains the text: the bitmap need not be looked at.
fn filter_map(lines: &Column, contains: &[u8]) -> Output {
    let mut parents = Vec::with_capacity(lines.offsets.len());
    let mut values = Column { offsets: vec![0], data: Vec::with_capacity(lines.data.len()), validity: Vec::new() };
    let mut start = 0;
    for (position, end) in (0..).zip(lines.offsets.iter().skip(1)) {
        let end = *end as usize;
        let line = lines.data.get(start..end).unwrap_or_default();
        start = end;
        if line.windows(contains.len()).any(|window| window == contains) {
            parents.push(position);
            values.data.extend(line.iter().map(u8::to_ascii_uppercase));
            values.offsets.push(u32::try_from(values.data.len()).unwrap_or(u32::MAX));
        }
    }
    Output { parents, ports: Vec::new(), keys: None, values: Some(values), timestamps: None, headers: None, rejects: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::{Column, filter_map};

    #[test]
    fn lines_that_contain_the_text_come_out_in_upper_case_with_their_position() {
        let lines = Column { offsets: vec![0, 5, 5, 9], data: b"a cata dog".to_vec(), validity: Vec::new() };
        let output = filter_map(&lines, b"cat");
        assert_eq!(output.parents, [0]);
        assert_eq!(output.values.map(|values| values.data), Some(b"A CAT".to_vec()));
    }

    #[test]
    fn a_null_is_dropped() {
        let lines = Column { offsets: vec![0, 0, 3], data: b"cat".to_vec(), validity: vec![0b10] };
        assert_eq!(filter_map(&lines, b"cat").parents, [1]);
    }
}
