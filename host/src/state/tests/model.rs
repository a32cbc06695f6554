//! Random operations on a store, its disk and its checkpoints against ordered maps.

use super::*;
use std::collections::BTreeMap;

type Whole = BTreeMap<Bytes, Bytes>;

/// A store with its checkpoint store, and what both should hold.
struct World {
    random: Random,
    folder: tempfile::TempDir,
    disk: Arc<Disk>,
    store: Store,
    /// Whole key to the guest's bytes.
    now: Whole,
    committed: Whole,
    /// Whole key to stored bytes.
    checkpoint: Whole,
    /// Committed, but behind the disk's mark.
    unspilled: BTreeMap<Bytes, Option<Bytes>>,
    frozen: Option<(Changes, Whole)>,
    epoch: u64,
    last_committed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
        let store = new_store(Some(disk.clone()));
        let (now, committed, checkpoint) = Default::default();
        let (unspilled, frozen) = Default::default();
        Self { random: Random(seed), folder, disk, store, now, committed, checkpoint, unspilled, frozen, epoch: 0, last_committed: 0 }
    }

    fn distinct_keys(&mut self) -> (Vec<Bytes>, Vec<u16>) {
        let n = self.random.below(30);
        let keys: BTreeMap<_, _> = (0..n).map(|_| self.random.key()).collect();
        keys.into_iter().unzip()
    }

    fn values(&mut self) {
        let (keys, shards) = self.distinct_keys();
        let (mut out, mut slots) = (Column::new(), Slots::default());
        self.store.load_values(VALUE, &column(&keys), &shards, &mut out, &mut slots).unwrap();
        let whole: Vec<Bytes> = keys.iter().zip(&shards).map(|(k, s)| [&Prefix::new(VALUE, *s).bytes()[..], k].concat()).collect();
        let expected: Vec<_> = whole.iter().map(|k| self.now.get(k).cloned()).collect();
        assert_eq!(rows(&out), expected);
        let groups: Vec<u32> = (0..keys.len() as u32).filter(|_| self.random.below(2) == 0).collect();
        let values: Vec<_> = groups.iter().map(|_| self.random.value()).collect();
        let changed = values.iter().map(|v| v.as_deref()).collect();
        self.store.apply_values(VALUE, &column(&keys), &shards, &slots, &groups, &changed).unwrap();
        for (g, value) in groups.iter().zip(values) {
            change(&mut self.now, &whole[*g as usize], value);
        }
    }

    fn map_call(&mut self) {
        let mut call = self.now.clone();
        for _ in 0..self.random.below(6) {
            // Few maps, so that the calls meet in them.
            let (key, shard) = ([b'k'; 40][..1 + self.random.below(3) as usize * 15].to_vec(), self.random.below(2) as u16);
            let start = [&Prefix::new(MAP, shard).bytes()[..], &(key.len() as u16).to_be_bytes(), &key].concat();
            match self.random.below(8) {
                0 => {
                    self.store.map_clear(MAP, &key, shard).unwrap();
                    call.retain(|k, _| !k.starts_with(&start));
                }
                1 | 2 => self.scan(&call, &key, shard, &start),
                3 | 4 => self.map_get(&call, &key, shard, &start),
                _ => self.map_put(&mut call, &key, shard, &start),
            }
        }
        if self.random.below(4) == 0 {
            self.store.drop_call();
        } else {
            self.store.commit_call().unwrap();
            self.now = call;
        }
    }

    fn map_keys(&mut self) -> Vec<Bytes> {
        (0..self.random.below(6)).map(|_| self.random.key().0).collect()
    }

    fn map_put(&mut self, call: &mut Whole, key: &[u8], shard: u16, start: &[u8]) {
        let map_keys = self.map_keys();
        let values: Vec<_> = map_keys.iter().map(|_| self.random.value()).collect();
        let (n, column_of_values) = (map_keys.len(), values.iter().map(|v| v.as_deref()).collect());
        self.store.map_put(MAP, &column(vec![key; n]), &vec![shard; n], &column(&map_keys), &column_of_values).unwrap();
        map_keys.iter().zip(values).for_each(|(k, v)| change(call, &[start, k].concat(), v));
    }

    fn map_get(&mut self, call: &Whole, key: &[u8], shard: u16, start: &[u8]) {
        let (map_keys, mut out) = (self.map_keys(), Column::new());
        let n = map_keys.len();
        self.store.map_get(MAP, &column(vec![key; n]), &vec![shard; n], &column(&map_keys), usize::MAX, &mut out).unwrap();
        assert_eq!(rows(&out), map_keys.iter().map(|k| call.get(&[start, k].concat()).cloned()).collect::<Vec<_>>());
    }

    fn scan(&mut self, call: &Whole, key: &[u8], shard: u16, start: &[u8]) {
        let after = (self.random.below(2) == 0).then(|| self.random.key().0);
        let limit = self.random.below(8) as usize;
        let all = call.iter().filter_map(|(k, v)| Some((k.strip_prefix(start)?.to_vec(), v.clone())));
        let expected: Vec<_> = all.filter(|(k, _)| after.as_ref().is_none_or(|a| k > a)).take(limit).collect();
        assert_eq!(scan(&mut self.store, key, shard, after.as_deref(), limit), expected);
    }

    fn freeze(&mut self) {
        if self.frozen.is_none() {
            self.epoch += 1;
            let bytes = self.store.dirty_bytes();
            let delta = self.store.freeze(self.epoch).unwrap();
            assert_eq!((delta.bytes(), self.store.dirty_bytes()), (bytes, 0));
            self.frozen = Some((owned(delta), self.now.clone()));
        }
    }

    fn commit(&mut self) {
        if let Some((changes, model)) = self.frozen.take() {
            self.store.committed(self.epoch).unwrap();
            self.last_committed = self.epoch;
            self.committed = model;
            for (key, value) in changes {
                change(&mut self.checkpoint, &key, value.clone());
                self.unspilled.insert(key, value);
            }
            let guests: Whole = self.checkpoint.iter().map(|(k, v)| (k.clone(), layout::split_version(v).unwrap().1.to_vec())).collect();
            assert_eq!(guests, self.committed);
        }
    }

    fn catch_up(&mut self) {
        if self.last_committed > self.disk.mark() {
            catch_up(&self.disk, self.last_committed, &std::mem::take(&mut self.unspilled).into_iter().collect());
        }
    }

    fn evict(&mut self) {
        let target = self.random.below(self.store.bytes() as u64 + 1) as usize;
        let before = self.store.bytes();
        let evicted = self.store.evict(target);
        assert_eq!(self.store.bytes(), before - evicted.freed);
        assert!(self.store.bytes() <= target || evicted.behind, "{evicted:?}");
    }

    /// Abort: a new store from what is committed, in memory, over the disk as it is, or loaded into a new disk.
    fn recover(&mut self) {
        let how = self.random.below(3);
        if how > 0 {
            self.store = Store::new(None);
            self.disk =
                Arc::new(Disk::open(&self.folder.path().join(self.random.below(u64::MAX).to_string()), CACHE, RUN, |_| false).unwrap());
            self.unspilled = self.checkpoint.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect();
        }
        if how == 1 && self.last_committed > 0 {
            let mut load = self.disk.load(self.last_committed).unwrap();
            self.checkpoint.iter().for_each(|(key, value)| load.put(key, Some(value)).unwrap());
            load.finish().unwrap();
            self.unspilled.clear();
        }
        self.store = new_store(Some(self.disk.clone()));
        for (key, value) in &self.unspilled {
            self.store.insert_restored(self.last_committed, key, value.as_deref()).unwrap();
        }
        self.frozen = None;
        self.epoch = self.last_committed;
        self.now = self.committed.clone();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..40 => self.values(),
            40..75 => self.map_call(),
            75..83 => self.freeze(),
            83..90 => self.commit(),
            90..94 => self.catch_up(),
            94..99 => self.evict(),
            _ => self.recover(),
        }
    }
}

fn change(model: &mut Whole, key: &[u8], value: Option<Bytes>) {
    match value {
        Some(value) => model.insert(key.to_vec(), value),
        None => model.remove(key),
    };
}

#[test]
fn random_operations_equal_the_naive_model() {
    for seed in 0..6 {
        let mut world = World::new(seed);
        for step in 0..1500 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
            assert!(done.is_ok(), "seed {seed}, step {step}");
        }
    }
}
