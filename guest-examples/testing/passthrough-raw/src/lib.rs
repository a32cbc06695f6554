//! Reads every byte of every value and writes a new one, over raw columns; `passthrough` does the same work through
//! the SDK. A null stays one.

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, clippy::indexing_slicing)]
    wit_bindgen::generate!({ world: "transform", path: "../../../wit" });
    #[cfg(target_arch = "wasm32")]
    export!(Component with_types_in self);
    #[cfg(target_arch = "wasm32")]
    use super::Passthrough as Component;
}

use bindings::exports::weir::operator::transform_function::Guest;
use bindings::weir::operator::columns::{Batch, Column, Fault, Output};

/// The function.
pub struct Passthrough;

impl Guest for Passthrough {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn process(records: Batch) -> Result<Output, Fault> {
        let Column { offsets, data: read, validity } = records.values;
        let mut data = Vec::with_capacity(read.len());
        let mut start = 0;
        for end in offsets.iter().skip(1) {
            let end = *end as usize;
            let value = read.get(start..end).unwrap_or_default();
            data.extend(value.iter().map(|byte| byte ^ 0x20));
            start = end;
        }
        Ok(Output {
            parents: (0..).take(records.timestamps.len()).collect(),
            ports: Vec::new(),
            keys: None,
            values: Some(Column { offsets, data, validity }),
            timestamps: None,
            headers: None,
            rejects: Vec::new(),
        })
    }
}
