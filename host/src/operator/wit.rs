//! The types of `weir:operator@0.1.0` as the host sees them.
//!
//! What goes to the guest on the record's way borrows the host's columns (derived, lowered with one `memcpy` per
//! buffer); what comes back is lifted once and then checked by [`super::output`]. Imports, which few calls use, come
//! from `bindgen!`.

use crate::record::{Column, LayoutError};
use wasmtime::component::{ComponentType, Lift, Lower};

/// A column handed to a guest.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct ColumnRef<'a> {
    offsets: &'a [u32],
    data: &'a [u8],
    validity: &'a [u8],
}

impl<'a> From<&'a Column> for ColumnRef<'a> {
    fn from(column: &'a Column) -> Self {
        let (offsets, data, validity) = column.parts();
        Self { offsets, data, validity }
    }
}

/// Argument of `transform-function.process`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct BatchRef<'a> {
    pub timestamps: &'a [i64],
    pub keys: ColumnRef<'a>,
    pub values: ColumnRef<'a>,
}

/// Argument of `process-function.process`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct KeyedBatchRef<'a> {
    pub timestamps: &'a [i64],
    pub values: ColumnRef<'a>,
    pub groups: &'a [u32],
    pub keys: ColumnRef<'a>,
    pub states: &'a [ColumnRef<'a>],
}

/// A column that a guest handed back: not yet checked.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct RawColumn {
    /// Positions in `data`.
    pub offsets: Vec<u32>,
    /// Bytes.
    pub data: Vec<u8>,
    /// Bitmap.
    pub validity: Vec<u8>,
}

impl RawColumn {
    pub(super) fn check(self, rows: usize) -> Result<Column, LayoutError> {
        Column::from_parts(self.offsets, self.data, self.validity, rows)
    }
}

/// A record that the guest refuses.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct Reject {
    /// Input position.
    pub position: u32,
    /// Why, in the guest's words.
    pub reason: String,
}

/// Headers that a guest handed back: not yet checked.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct RawHeaders {
    /// Per output the first of its entries, and one more.
    pub offsets: Vec<u32>,
    /// Names.
    pub names: RawColumn,
    /// Values.
    pub values: RawColumn,
}

/// Output that a guest handed back: not yet checked.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct RawOutput {
    /// Per output the input position that it comes from.
    pub parents: Vec<u32>,
    /// Per output its port; empty = all on port 0.
    pub ports: Vec<u8>,
    /// Keys; none = the parents'.
    pub keys: Option<RawColumn>,
    /// Values; none = the parents'.
    pub values: Option<RawColumn>,
    /// Event times; none = the parents'.
    pub timestamps: Option<Vec<i64>>,
    /// Headers; none = the parents'.
    pub headers: Option<RawHeaders>,
    /// Inputs that go where `onError` says.
    pub rejects: Vec<Reject>,
}

/// Changes of one value state.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct StateChange {
    /// Number of the state.
    pub state: u32,
    /// Groups changed.
    pub groups: Vec<u32>,
    /// Their new values; null deletes.
    pub values: RawColumn,
}

/// What a process function hands back.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub struct Processed {
    /// Records and rejects.
    pub output: RawOutput,
    /// Value states changed.
    pub changes: Vec<StateChange>,
}

/// A guest's own word that a call failed.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(variant)]
pub enum Fault {
    /// One input is to be taken out and the rest tried again.
    #[component(name = "rejected")]
    Rejected(Reject),
    /// As a trap: find the record.
    #[component(name = "failed")]
    Failed(String),
    /// The same call again after a back-off.
    #[component(name = "retry")]
    Retry(String),
    /// Stop the job.
    #[component(name = "fatal")]
    Fatal(String),
}

/// The imports, generated.
pub(super) mod imports {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "weir:operator/processor",
        imports: { default: trappable },
    });
}
