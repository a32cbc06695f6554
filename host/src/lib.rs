//! The Weir runtime. This page is the map: the rooms of the crate in the order in which a record meets them. Each room
//! opens with what it promises.
//!
//! # Before the first record
//!
//! 1. [`job`] takes a job file that `weir-spec` has read, and carries it to its end: load, plan, recover, run, and
//!    restart inside the process where that can help. An attempt makes everything anew from the last commit, so a
//!    restart and a start are the same code.
//! 2. [`operator`] compiles each operator's component and asks its `init` what it declares: states, ports, inputs,
//!    metrics.
//! 3. [`plan`] turns job file and declarations into a [`Plan`](plan::Plan): who reads whom, cut into stages at keyed
//!    edges. It is pure, and blind to how anything runs.
//! 4. [`checkpoint`] decides where to go on. What is committed, what the store holds and what the topics still have are
//!    facts; [`decide`](checkpoint::decide) makes of them a fresh start, a resumption or a refusal that says why.
//!
//! # A record's way
//!
//! 5. It comes in as part of a [`Batch`](record::Batch), the flat columns of [`record`] that it stays in to the end:
//!    from Kafka by a [`WorkerQueue`](kafka::WorkerQueue) of [`kafka`], otherwise by [`source`], from a file, standard
//!    input or the generator. Each source partition belongs to one worker.
//! 6. [`worker`] is the loop that moves it: one thread that owns its partitions, shards, instances and state. Within a
//!    stage a record goes from operator to operator in one call stack.
//! 7. At a keyed edge it gets its key, and [`exchange`] takes it to the worker that owns the key's shard.
//! 8. Before a keyed call [`state`] answers with the values of all distinct keys of the batch: from the table in memory,
//!    or from RocksDB once the state has outgrown its budget.
//! 9. [`operator`] calls the guest with the batch, checks the answer as a whole, and hands it back; only then are
//!    changes applied to the state and outputs passed on. A call that fails has changed nothing: the worker halves the
//!    batch until the poison record stands alone.
//! 10. Outputs leave by an [`OutputProducer`](kafka::OutputProducer) of [`kafka`], or by [`sink`]: a file, standard
//!     output, nowhere.
//!
//! # What makes it final
//!
//! 11. [`commit`] ends an epoch every so often: barriers flow with the records, each worker freezes its changes, and
//!     one function flushes outputs, puts the checkpoint and commits the positions with the checkpoint's name.
//! 12. [`checkpoint`] holds the format of what was put, merges it in the background, and reads it back at the next
//!     start.
//!
//! # Beside the way
//!
//! [`fault`] says what an error means for the job, [`metrics`] holds every metric, and [`clock`] is the only place that
//! asks the machine for the time of day and for randomness. [`failpoint`] is where tests end the process. [`trace`] makes
//! the spans of an epoch, where somebody collects them.

#[macro_use]
pub mod failpoint;

pub mod checkpoint;
pub mod clock;
pub mod commit;
pub mod exchange;
pub mod fault;
pub mod job;
pub mod kafka;
mod log_limit;
pub mod metrics;
pub mod operator;
pub mod plan;
pub mod record;
pub mod sink;
pub mod source;
pub mod state;
pub mod trace;
pub mod worker;
