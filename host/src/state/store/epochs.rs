//! From a running epoch to a committed one, and what may be forgotten then.

use super::{Disk, Store};
use crate::state::slab::{DIRTY, REFERENCED};
use crate::state::{Error, FrozenDelta, Result};

/// Epochs after the disk's mark whose bytes are counted apart; older ones are counted together.
const UNSPILLED_EPOCHS: usize = 256;

/// Outcome of [`Store::evict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Bytes given back.
    pub freed: usize,
    /// The target was missed because entries are newer than the disk's mark: run a catch-up, then try again.
    pub behind: bool,
}

/// An epoch whose changes are on their way to a commit.
pub(super) struct Frozen {
    epoch: u64,
    deleted: Vec<u32>,
}

impl Store {
    /// Takes the changes of the running epoch and begins the next one.
    ///
    /// # Errors
    /// An epoch is frozen already, or `epoch` does not come after the last one.
    pub fn freeze(&mut self, epoch: u64) -> Result<FrozenDelta> {
        if let Some(frozen) = &self.frozen {
            return Err(Error::Frozen { epoch, frozen: Some(frozen.epoch) });
        }
        if epoch <= self.epoch {
            return Err(Error::EpochOrder { epoch, last: self.epoch });
        }
        let mut delta = FrozenDelta::with_capacity(epoch, self.dirty.len(), self.dirty_bytes);
        let mut deleted = Vec::new();
        for slot in std::mem::take(&mut self.dirty) {
            let entry = self.slab.get_mut(slot);
            entry.flags &= !DIRTY;
            entry.changed = epoch;
            delta.push(entry);
            if entry.value.is_empty() {
                deleted.push(slot);
            }
        }
        self.dirty_bytes = 0;
        if self.disk.is_some() {
            self.unspilled.push_back((epoch, delta.bytes()));
            if self.unspilled.len() > UNSPILLED_EPOCHS
                && let Some((_, oldest)) = self.unspilled.pop_front()
                && let Some((_, next)) = self.unspilled.front_mut()
            {
                *next += oldest;
            }
        }
        self.epoch = epoch;
        self.frozen = Some(Frozen { epoch, deleted });
        Ok(delta)
    }

    /// The frozen epoch is committed. Not between a load and its apply.
    ///
    /// # Errors
    /// Another epoch is frozen, or none.
    pub fn committed(&mut self, epoch: u64) -> Result<()> {
        let Some(frozen) = self.frozen.take_if(|frozen| frozen.epoch == epoch) else {
            return Err(Error::Frozen { epoch, frozen: self.frozen.as_ref().map(|frozen| frozen.epoch) });
        };
        // While nothing was written to the disk, what the table lacks is absent and a deletion may be forgotten. A first
        // catch-up that begins just now may be one to an older epoch, in which the key still lived: the floor keeps
        // such a disk out. It rises no more once a catch-up has begun, so the next one reaches it.
        if self.disk.as_ref().is_none_or(|disk| !disk.begun()) && !frozen.deleted.is_empty() {
            self.floor = epoch;
            for slot in frozen.deleted {
                let entry = self.slab.get(slot);
                if entry.changed == epoch && !entry.has(DIRTY) {
                    self.remove(slot);
                }
            }
        }
        Ok(())
    }

    /// Gives memory back until the store holds at most `target_bytes`: entries that the disk holds too, those first
    /// that were not used for the longest time. Not between a load and its apply.
    pub fn evict(&mut self, target_bytes: usize) -> Evicted {
        let before = self.bytes();
        if before <= target_bytes {
            return Evicted { freed: 0, behind: false };
        }
        let Some(mark) = self.disk_in_use().map(Disk::mark) else {
            return Evicted { freed: 0, behind: self.disk.is_some() };
        };
        if self.stuck_at == Some(mark) {
            return Evicted { freed: 0, behind: true };
        }
        let mut behind = false;
        // Two rounds: the first one takes away the second chances.
        for _ in 0..2 * u64::from(self.slab.slots()) {
            if self.bytes() <= target_bytes {
                break;
            }
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.slab.slots();
            let entry = self.slab.get_mut(slot);
            if !entry.occupied() {
                continue;
            }
            if entry.has(DIRTY) || entry.changed > mark {
                behind = true;
            } else if entry.has(REFERENCED) {
                entry.flags &= !REFERENCED;
            } else {
                self.remove(slot);
            }
        }
        behind &= self.bytes() > target_bytes;
        self.stuck_at = behind.then_some(mark);
        Evicted { freed: before - self.bytes(), behind }
    }

    /// Bytes of the deltas frozen since the disk's mark: what a catch-up would write now.
    pub fn unspilled_bytes(&mut self) -> usize {
        let mark = self.disk.as_ref().map_or(0, |disk| disk.mark());
        while self.unspilled.pop_front_if(|(epoch, _)| *epoch <= mark).is_some() {}
        self.unspilled.iter().map(|(_, bytes)| bytes).sum()
    }
}
