//! What wit-bindgen makes of `wit/operator.wit`. The transform world shares every interface with the processor world,
//! so that there is one Rust type for a column.
#![allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic, clippy::indexing_slicing)]

/// The world of keyed functions.
pub mod processor {
    wit_bindgen::generate!({
        world: "processor",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_processor",
        default_bindings_module: "weir_sdk::bindings::processor",
        runtime_path: "::weir_sdk::wit_bindgen::rt",
        additional_derives: [PartialEq],
    });
}

/// The world of stateless functions.
pub mod transform {
    wit_bindgen::generate!({
        world: "transform",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_transform",
        default_bindings_module: "weir_sdk::bindings::transform",
        runtime_path: "::weir_sdk::wit_bindgen::rt",
        additional_derives: [PartialEq],
        with: {
            "weir:operator/columns@0.1.0": crate::bindings::processor::weir::operator::columns,
            "weir:operator/declare@0.1.0": crate::bindings::processor::weir::operator::declare,
            "weir:operator/incoming@0.1.0": crate::bindings::processor::weir::operator::incoming,
            "weir:operator/metrics@0.1.0": crate::bindings::processor::weir::operator::metrics,
            "weir:operator/log@0.1.0": crate::bindings::processor::weir::operator::log,
        },
    });
}

pub use processor::weir::operator::columns::{Batch, Column, Fault, Headers, KeyedBatch, Output, Processed, Reject, StateChange};
