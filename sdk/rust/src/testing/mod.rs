//! Runs functions natively, without a host: state in memory, records in, outputs and rejects out.
//!
//! ```
//! # use weir_sdk::transform::{Context, Declare, Record, Transform};
//! # use weir_sdk::{Result, testing::{Row, TransformTest}};
//! struct NonEmpty;
//!
//! impl Transform for NonEmpty {
//!     fn init(_declare: &mut Declare, _config: &str) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
//!         if !record.text()?.is_empty() {
//!             cx.forward();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let mut test = TransformTest::<NonEmpty>::new("{}")?;
//! let batch = test.batch(&[Row::value("a"), Row::value(""), Row::value("b")]).unwrap();
//! assert_eq!(batch.texts(), ["a", "b"]);
//! # Ok::<(), weir_sdk::Error>(())
//! ```

mod memory;
mod row;

use crate::bindings::{Batch, Column, Fault, KeyedBatch, StateChange};
use crate::codec::{Codec, MapKey};
use crate::column::position;
use crate::error::Result;
use crate::host::Level;
use crate::map::MapState;
use crate::processor::{self, Processor};
use crate::state::ValueState;
use crate::transform::{self, Transform};
use memory::Memory;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use row::{Emitted, Outputs, Row};

/// What both kinds of test know of the function's surroundings.
macro_rules! test_methods {
    ($function:ident) => {
        /// The function, for instance to reach its handles.
        #[must_use]
        pub fn function(&self) -> &$function {
            &self.runner.function
        }

        /// Sets what the function sees as the watermark.
        pub fn set_watermark(&mut self, watermark: i64) {
            self.memory.set_watermark(watermark);
        }

        /// Sets what the function sees as the wall clock, in milliseconds since the Unix epoch.
        pub fn set_processing_time(&mut self, milliseconds: i64) {
            self.memory.set_processing_time(milliseconds);
        }

        /// The sum of the declared counter of this name; 0 if there is none.
        #[must_use]
        pub fn counter(&self, name: &str) -> u64 {
            self.memory.counter(name)
        }

        /// The last value of the declared gauge of this name.
        #[must_use]
        pub fn gauge(&self, name: &str) -> Option<f64> {
            self.memory.gauge(name)
        }

        /// All values of the declared histogram of this name.
        #[must_use]
        pub fn histogram(&self, name: &str) -> Vec<f64> {
            self.memory.histogram(name)
        }

        /// The log lines so far.
        #[must_use]
        pub fn log(&self) -> Vec<(Level, String)> {
            self.memory.log_lines()
        }
    };
}

/// A transform under test.
pub struct TransformTest<T> {
    runner: transform::Runner<T>,
    memory: Rc<Memory>,
}

impl<T: Transform> TransformTest<T> {
    /// Runs the function's `init`.
    ///
    /// # Errors
    /// The function's.
    pub fn new(config: &str) -> Result<Self> {
        let memory = Rc::new(Memory::default());
        let runner = transform::Runner::with_host(memory.clone(), config)?;
        Ok(Self { runner, memory })
    }

    /// Processes one batch.
    ///
    /// # Errors
    /// The fault that ended the call.
    pub fn batch(&mut self, rows: &[Row]) -> Result<Outputs, Fault> {
        self.memory.begin(rows, Vec::new());
        let batch = Batch {
            timestamps: rows.iter().map(|row| row.timestamp).collect(),
            keys: rows.iter().map(|row| row.key.as_deref()).collect(),
            values: rows.iter().map(|row| row.value.as_deref()).collect(),
        };
        let output = self.runner.process(&batch)?;
        Ok(Outputs::new(rows, &self.memory.ports(), output))
    }

    test_methods!(T);
}

/// A processor under test. Its state lives as long as this value.
pub struct ProcessorTest<P> {
    runner: processor::Runner<P>,
    memory: Rc<Memory>,
    /// Per value state, the values by key.
    states: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<P: Processor> ProcessorTest<P> {
    /// Runs the function's `init`.
    ///
    /// # Errors
    /// The function's.
    pub fn new(config: &str) -> Result<Self> {
        let memory = Rc::new(Memory::default());
        let runner = processor::Runner::with_host(memory.clone(), memory.clone(), config)?;
        let states = vec![BTreeMap::new(); memory.value_states()];
        Ok(Self { runner, memory, states })
    }

    /// Processes one batch of input number `input`. A row without a key becomes a reject, as with the host.
    ///
    /// # Errors
    /// The fault that ended the call; state is as before.
    pub fn batch(&mut self, input: u32, rows: &[Row]) -> Result<Outputs, Fault> {
        let keyless: Vec<usize> = (0..).zip(rows).filter(|(_, row)| row.key.is_none()).map(|(at, _)| at).collect();
        let positions: Vec<usize> = (0..).zip(rows).filter(|(_, row)| row.key.is_some()).map(|(at, _)| at).collect();
        let keyed: Vec<Row> = rows.iter().filter(|row| row.key.is_some()).cloned().collect();
        let (groups, keys) = group(&keyed);
        self.memory.begin(&keyed, keys.clone());
        let batch = KeyedBatch {
            timestamps: keyed.iter().map(|row| row.timestamp).collect(),
            values: keyed.iter().map(|row| row.value.as_deref()).collect(),
            groups,
            keys: keys.iter().map(|key| Some(key.as_slice())).collect(),
            states: self.states.iter().map(|state| load(state, &keys)).collect(),
        };
        let processed = self.runner.process(input, &batch)?;
        self.memory.commit();
        for change in processed.changes {
            self.apply(&keys, &change);
        }
        let mut outputs = Outputs::new(&keyed, &self.memory.ports(), processed.output);
        outputs.place(&positions, &keyless);
        Ok(outputs)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When the stored bytes are no `T`.
    pub fn value<T, C: Codec<T>>(&self, state: ValueState<T, C>, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let values = self.states.get(state.id as usize);
        values.and_then(|values| values.get(key.as_ref())).map(|bytes| C::decode(bytes)).transpose()
    }

    /// The map of `key`, in order of its keys.
    ///
    /// # Errors
    /// When stored bytes are no `K` or `V`.
    pub fn map<K: MapKey, V, C: Codec<V>>(&self, state: MapState<K, V, C>, key: impl AsRef<[u8]>) -> Result<Vec<(K, V)>> {
        let entries = self.memory.map(state.id, key.as_ref());
        entries.iter().map(|(key, value)| Ok((K::decode(key)?, C::decode(value)?))).collect()
    }

    test_methods!(P);

    fn apply(&mut self, keys: &[Vec<u8>], change: &StateChange) {
        let Some(state) = self.states.get_mut(change.state as usize) else { return };
        for (group, value) in change.groups.iter().zip(&change.values) {
            let Some(key) = keys.get(*group as usize) else { continue };
            match value {
                Some(value) => state.insert(key.clone(), value.to_vec()),
                None => state.remove(key),
            };
        }
    }
}

/// Numbers the distinct keys by first appearance.
fn group(rows: &[Row]) -> (Vec<u32>, Vec<Vec<u8>>) {
    let mut numbers = BTreeMap::new();
    let mut keys = Vec::new();
    let mut groups = Vec::with_capacity(rows.len());
    for key in rows.iter().filter_map(|row| row.key.as_ref()) {
        groups.push(*numbers.entry(key).or_insert_with(|| {
            keys.push(key.clone());
            position(keys.len() - 1)
        }));
    }
    (groups, keys)
}

fn load(state: &BTreeMap<Vec<u8>, Vec<u8>>, keys: &[Vec<u8>]) -> Column {
    keys.iter().map(|key| state.get(key).map(Vec::as_slice)).collect()
}
