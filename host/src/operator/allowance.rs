//! What a guest may make the host hold for it: the memory of its instance, and what a call leaves with the host until it
//! is over.

use wasmtime::{ResourceLimiter, Result, bail};

/// Bytes of a table's element.
const ELEMENT: usize = 16;
/// What an entry costs in the host's maps beside its bytes.
const ENTRY: usize = 128;
/// Values that a call may give to histograms.
const OBSERVATIONS: usize = 1 << 20;
/// Memories, tables and core instances of one component: more than any toolchain makes.
const PARTS: usize = 64;

/// The limits of one instance, and how much of them is used.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Bytes of all linear memories and tables together.
    memory: usize,
    used: usize,
    /// Bytes of changes to map state that one call may leave with the host.
    changes: usize,
    changed: usize,
    observed: usize,
}

impl Allowance {
    pub fn new(memory: usize, changes: usize) -> Self {
        Self { memory, used: 0, changes, changed: 0, observed: 0 }
    }

    /// A call begins.
    pub fn begin_call(&mut self) {
        (self.changed, self.observed) = (0, 0);
    }

    /// Bytes that an answer of the host may have. It is copied before it reaches the guest, which has to hold it beside
    /// all else.
    pub fn answer(&self) -> usize {
        self.memory / 4
    }

    /// The call changes map state.
    pub fn change(&mut self, entries: usize, bytes: usize) -> Result<()> {
        self.changed = self.changed.saturating_add(entries.saturating_mul(ENTRY)).saturating_add(bytes);
        if self.changed > self.changes {
            bail!("the call changes more than {} bytes of map state (limits.outputBytes)", self.changes);
        }
        Ok(())
    }

    /// The call gives values to a histogram.
    pub fn observe(&mut self, values: usize) -> Result<()> {
        self.observed = self.observed.saturating_add(values);
        if self.observed > OBSERVATIONS {
            bail!("the call gives more than {OBSERVATIONS} values to histograms");
        }
        Ok(())
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.memory;
        if fits {
            self.used = used;
        }
        fits
    }
}

/// All memories and tables of an instance share the one limit: several small ones are no way around it.
impl ResourceLimiter for Allowance {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.grow(current.saturating_mul(ELEMENT), desired.saturating_mul(ELEMENT)))
    }

    fn instances(&self) -> usize {
        PARTS
    }

    fn tables(&self) -> usize {
        PARTS
    }

    fn memories(&self) -> usize {
        PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut allowance = Allowance::new(1000, 0);
        assert!(allowance.memory_growing(0, 400, None).is_ok_and(|grows| grows));
        assert!(allowance.memory_growing(0, 400, None).is_ok_and(|grows| grows));
        assert!(allowance.table_growing(0, 13, None).is_ok_and(|grows| !grows));
        assert!(allowance.table_growing(0, 12, None).is_ok_and(|grows| grows));
        assert!(allowance.memory_growing(400, 409, None).is_ok_and(|grows| !grows));
    }

    #[test]
    fn what_a_call_may_leave_with_the_host_is_counted_per_call() {
        let mut allowance = Allowance::new(0, 1000);
        assert!(allowance.change(2, 700).is_ok() && allowance.change(0, 44).is_ok() && allowance.change(0, 1).is_err());
        allowance.begin_call();
        assert!(allowance.change(1, 872).is_ok());
        assert!(allowance.observe(OBSERVATIONS).is_ok() && allowance.observe(1).is_err());
    }
}
